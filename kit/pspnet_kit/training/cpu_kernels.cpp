// Training kernels for x86-64 with AVX-512: what a mobile network spends most of its time on and PyTorch does slowly on few
// cores. Activations are bfloat16 in NHWC order, parameters and statistics float32. cpu_kernels.py says where they are used.

#include <torch/extension.h>
#include <immintrin.h>

#include <vector>

using at::BFloat16;
using at::Tensor;

namespace {

constexpr int64_t LANES = 16;

inline __m512 load(const BFloat16* p, __mmask16 lanes) {
    __m256i half = _mm256_maskz_loadu_epi16(lanes, p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// Rounds to nearest even; NaN stays NaN because the exponent's bits are not carried into.
inline void store(BFloat16* p, __mmask16 lanes, __m512 value) {
    __m512i bits = _mm512_castps_si512(value);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_mask_storeu_epi16(p, lanes, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

inline __mmask16 lanes_at(int64_t c, int64_t channels) {
    return channels - c >= LANES ? 0xffff : static_cast<__mmask16>((1u << (channels - c)) - 1);
}

inline Tensor rows(const Tensor& x) {
    return x.contiguous(at::MemoryFormat::ChannelsLast);
}

struct Depthwise {
    int64_t n, c, h, w, oh, ow, pad;
};

template <int K>
struct Taps {
    __m512 value[K * K];

    inline void read(const float* from, int64_t step, __mmask16 lanes) {
#pragma GCC unroll 25
        for (int t = 0; t < K * K; t++) value[t] = _mm512_maskz_loadu_ps(lanes, from + t * step);
    }

    inline void write(float* to, int64_t step, __mmask16 lanes) const {
#pragma GCC unroll 25
        for (int t = 0; t < K * K; t++) _mm512_mask_storeu_ps(to + t * step, lanes, value[t]);
    }
};

// Calls `tap(t, cell)` for each tap of output cell (oy, ox) with the input cell that it reads. Outside are zeros: skipped.
template <int K, int S, typename Tap>
inline void each_input(const Depthwise& d, int64_t oy, int64_t ox, Tap tap) {
    const int64_t y = oy * S - d.pad, x = ox * S - d.pad;
    if (y >= 0 && x >= 0 && y + K <= d.h && x + K <= d.w) {
#pragma GCC unroll 25
        for (int t = 0; t < K * K; t++) tap(t, (y + t / K) * d.w + x + t % K);
        return;
    }
#pragma GCC unroll 25
    for (int t = 0; t < K * K; t++) {
        const int64_t iy = y + t / K, ix = x + t % K;
        if (iy >= 0 && ix >= 0 && iy < d.h && ix < d.w) tap(t, iy * d.w + ix);
    }
}

// The reverse: each tap through which input cell (iy, ix) reached an output cell.
template <int K, int S, typename Tap>
inline void each_output(const Depthwise& d, int64_t iy, int64_t ix, Tap tap) {
    const int64_t y = iy + d.pad, x = ix + d.pad;
    if (S == 1 && y >= K - 1 && x >= K - 1 && y < d.oh && x < d.ow) {
#pragma GCC unroll 25
        for (int t = 0; t < K * K; t++) tap(t, (y - t / K) * d.ow + x - t % K);
        return;
    }
#pragma GCC unroll 25
    for (int t = 0; t < K * K; t++) {
        const int64_t oy = y - t / K, ox = x - t % K;
        if (oy >= 0 && ox >= 0 && oy % S == 0 && ox % S == 0 && oy / S < d.oh && ox / S < d.ow)
            tap(t, oy / S * d.ow + ox / S);
    }
}

// Fills `to` [n, h, w, c]: each cell is the sum of taps times cells of `from`, whose pictures have `area` cells. `each` says
// which taps and cells those are, as each_input and each_output do.
template <int K, typename Each>
void gather(const Depthwise& d, int64_t h, int64_t w, int64_t area, const BFloat16* from, const float* weight, BFloat16* to,
            Each each) {
    at::parallel_for(0, d.n * h, 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const BFloat16* picture = from + row / h * area * d.c;
            for (int64_t c = 0; c < d.c; c += LANES) {
                const __mmask16 lanes = lanes_at(c, d.c);
                Taps<K> taps;
                taps.read(weight + c, d.c, lanes);
                for (int64_t x = 0; x < w; x++) {
                    __m512 sum = _mm512_setzero_ps();
                    each(row % h, x, [&](int t, int64_t cell) {
                        sum = _mm512_fmadd_ps(load(picture + cell * d.c + c, lanes), taps.value[t], sum);
                    });
                    store(to + (row * w + x) * d.c + c, lanes, sum);
                }
            }
        }
    });
}

template <int K, int S>
void depthwise_forward(const Depthwise& d, const BFloat16* x, const float* weight, BFloat16* y) {
    gather<K>(d, d.oh, d.ow, d.h * d.w, x, weight, y,
              [&](int64_t oy, int64_t ox, auto tap) { each_input<K, S>(d, oy, ox, tap); });
}

template <int K, int S>
void depthwise_input_gradient(const Depthwise& d, const BFloat16* dy, const float* weight, BFloat16* dx) {
    gather<K>(d, d.h, d.w, d.oh * d.ow, dy, weight, dx,
              [&](int64_t iy, int64_t ix, auto tap) { each_output<K, S>(d, iy, ix, tap); });
}

// One thread: the sums of all rows meet in `dw`, and rows must be read in order to stay in the cache.
template <int K, int S>
void depthwise_weight_gradient(const Depthwise& d, const BFloat16* x, const BFloat16* dy, float* dw) {
    for (int64_t row = 0; row < d.n * d.oh; row++) {
        const BFloat16* picture = x + row / d.oh * d.h * d.w * d.c;
        for (int64_t c = 0; c < d.c; c += LANES) {
            const __mmask16 lanes = lanes_at(c, d.c);
            Taps<K> sums;
            sums.read(dw + c, d.c, lanes);
            for (int64_t ox = 0; ox < d.ow; ox++) {
                const __m512 gradient = load(dy + (row * d.ow + ox) * d.c + c, lanes);
                each_input<K, S>(d, row % d.oh, ox, [&](int t, int64_t cell) {
                    sums.value[t] = _mm512_fmadd_ps(load(picture + cell * d.c + c, lanes), gradient, sums.value[t]);
                });
            }
            sums.write(dw + c, d.c, lanes);
        }
    }
}

// Picks the instance of a kernel for a kernel size of 3 or 5 and a stride of 1 or 2.
#define FOR_SHAPE(kernel, taps, stride, ...)                        \
    ((taps) == 9 ? ((stride) == 1 ? kernel<3, 1>(__VA_ARGS__) : kernel<3, 2>(__VA_ARGS__)) \
                 : ((stride) == 1 ? kernel<5, 1>(__VA_ARGS__) : kernel<5, 2>(__VA_ARGS__)))

Depthwise shape(const Tensor& x, int64_t oh, int64_t ow, int64_t pad) {
    return {x.size(0), x.size(1), x.size(2), x.size(3), oh, ow, pad};
}

// x: bfloat16 [n, c, h, w]; weight: float32 [k * k, c], k 3 or 5. Gives [n, c, oh, ow].
Tensor depthwise(const Tensor& input, const Tensor& weight, int64_t oh, int64_t ow, int64_t stride, int64_t pad) {
    const Tensor x = rows(input);
    Tensor y = at::empty({x.size(0), x.size(1), oh, ow}, x.options(), at::MemoryFormat::ChannelsLast);
    const Depthwise d = shape(x, oh, ow, pad);
    FOR_SHAPE(depthwise_forward, weight.size(0), stride, d, x.data_ptr<BFloat16>(), weight.data_ptr<float>(),
              y.data_ptr<BFloat16>());
    return y;
}

std::vector<Tensor> depthwise_backward(const Tensor& gradient, const Tensor& input, const Tensor& weight, int64_t stride,
                                       int64_t pad) {
    const Tensor dy = rows(gradient), x = rows(input);
    Tensor dx = at::empty_like(x), dw = at::zeros_like(weight);
    const Depthwise d = shape(x, dy.size(2), dy.size(3), pad);
    FOR_SHAPE(depthwise_input_gradient, weight.size(0), stride, d, dy.data_ptr<BFloat16>(), weight.data_ptr<float>(),
              dx.data_ptr<BFloat16>());
    FOR_SHAPE(depthwise_weight_gradient, weight.size(0), stride, d, x.data_ptr<BFloat16>(), dy.data_ptr<BFloat16>(),
              dw.data_ptr<float>());
    return {dx, dw};
}

// Sums `terms` of each cell's channels over all cells: float32 in runs of RUN cells, double over the runs.
constexpr int64_t RUN = 256;

template <typename Terms>
void sum_channels(int64_t cells, int64_t channels, double* first, double* second, Terms terms) {
    const int64_t blocks = (channels + LANES - 1) / LANES;
    const int64_t runs = (cells + RUN - 1) / RUN;
    std::vector<float> a(blocks * LANES), b(blocks * LANES);
    for (int64_t run = 0; run < runs; run++) {
        std::fill(a.begin(), a.end(), 0.f);
        std::fill(b.begin(), b.end(), 0.f);
        for (int64_t cell = run * RUN; cell < std::min(cells, (run + 1) * RUN); cell++) {
            for (int64_t c = 0; c < channels; c += LANES) {
                __m512 p, q;
                terms(cell, c, lanes_at(c, channels), &p, &q);
                _mm512_storeu_ps(&a[c], _mm512_add_ps(_mm512_loadu_ps(&a[c]), p));
                _mm512_storeu_ps(&b[c], _mm512_add_ps(_mm512_loadu_ps(&b[c]), q));
            }
        }
        for (int64_t c = 0; c < channels; c++) first[c] += a[c], second[c] += b[c];
    }
}

// Mean and biased variance per channel of bfloat16 [n, c, h, w].
std::vector<Tensor> statistics(const Tensor& input) {
    const Tensor x = rows(input);
    const int64_t channels = x.size(1), cells = x.numel() / channels;
    Tensor sum = at::zeros({channels}, at::kDouble), squares = at::zeros({channels}, at::kDouble);
    const BFloat16* data = x.data_ptr<BFloat16>();
    sum_channels(cells, channels, sum.data_ptr<double>(), squares.data_ptr<double>(),
                 [&](int64_t cell, int64_t c, __mmask16 lanes, __m512* p, __m512* q) {
                     *p = load(data + cell * channels + c, lanes);
                     *q = _mm512_mul_ps(*p, *p);
                 });
    Tensor mean = sum / cells;
    Tensor variance = (squares / cells - mean * mean).clamp_min(0);
    return {mean.to(at::kFloat), variance.to(at::kFloat)};
}

// y = x * scale + shift per channel, clamped to 0..6 when `relu6`.
Tensor scale_shift(const Tensor& input, const Tensor& scale, const Tensor& shift, bool relu6) {
    const Tensor x = rows(input);
    Tensor y = at::empty_like(x);
    const int64_t channels = x.size(1), cells = x.numel() / channels;
    const BFloat16* data = x.data_ptr<BFloat16>();
    const float *s = scale.data_ptr<float>(), *t = shift.data_ptr<float>();
    BFloat16* out = y.data_ptr<BFloat16>();
    const __m512 zero = _mm512_setzero_ps(), six = _mm512_set1_ps(6.f);
    at::parallel_for(0, cells, 512, [&](int64_t begin, int64_t end) {
        for (int64_t cell = begin; cell < end; cell++) {
            for (int64_t c = 0; c < channels; c += LANES) {
                const __mmask16 lanes = lanes_at(c, channels);
                __m512 z = _mm512_fmadd_ps(load(data + cell * channels + c, lanes), _mm512_maskz_loadu_ps(lanes, s + c),
                                           _mm512_maskz_loadu_ps(lanes, t + c));
                if (relu6) z = _mm512_min_ps(_mm512_max_ps(z, zero), six);
                store(out + cell * channels + c, lanes, z);
            }
        }
    });
    return y;
}

// Gradients of BatchNorm (batch statistics) and ReLU6 behind it. `scale` and `shift` as in scale_shift; `mean` and
// `inverse` (1 / deviation) of the batch. Gives the gradients of input, weight (gamma) and bias (beta).
std::vector<Tensor> batch_norm_backward(const Tensor& gradient, const Tensor& input, const Tensor& scale,
                                        const Tensor& shift, const Tensor& mean, const Tensor& inverse, bool relu6) {
    const Tensor dy = rows(gradient), x = rows(input);
    const int64_t channels = x.size(1), cells = x.numel() / channels;
    const BFloat16 *gd = dy.data_ptr<BFloat16>(), *xd = x.data_ptr<BFloat16>();
    const float *s = scale.data_ptr<float>(), *t = shift.data_ptr<float>();
    const float *m = mean.data_ptr<float>(), *r = inverse.data_ptr<float>();
    const __m512 zero = _mm512_setzero_ps(), six = _mm512_set1_ps(6.f);
    auto read = [&](int64_t cell, int64_t c, __mmask16 lanes, __m512* dz, __m512* normal) {
        const __m512 value = load(xd + cell * channels + c, lanes);
        *dz = load(gd + cell * channels + c, lanes);
        if (relu6) {
            const __m512 z =
                _mm512_fmadd_ps(value, _mm512_maskz_loadu_ps(lanes, s + c), _mm512_maskz_loadu_ps(lanes, t + c));
            const __mmask16 open = _mm512_cmp_ps_mask(z, zero, _CMP_GT_OQ) & _mm512_cmp_ps_mask(z, six, _CMP_LT_OQ);
            *dz = _mm512_maskz_mov_ps(open, *dz);
        }
        *normal = _mm512_mul_ps(_mm512_sub_ps(value, _mm512_maskz_loadu_ps(lanes, m + c)),
                                _mm512_maskz_loadu_ps(lanes, r + c));
    };
    Tensor beta = at::zeros({channels}, at::kDouble), gamma = at::zeros({channels}, at::kDouble);
    sum_channels(cells, channels, beta.data_ptr<double>(), gamma.data_ptr<double>(),
                 [&](int64_t cell, int64_t c, __mmask16 lanes, __m512* p, __m512* q) {
                     __m512 normal;
                     read(cell, c, lanes, p, &normal);
                     *q = _mm512_mul_ps(*p, normal);
                 });
    const Tensor beta_mean = (beta / cells).to(at::kFloat), gamma_mean = (gamma / cells).to(at::kFloat);
    const float *b = beta_mean.data_ptr<float>(), *g = gamma_mean.data_ptr<float>();
    Tensor dx = at::empty_like(x);
    BFloat16* out = dx.data_ptr<BFloat16>();
    at::parallel_for(0, cells, 512, [&](int64_t begin, int64_t end) {
        for (int64_t cell = begin; cell < end; cell++) {
            for (int64_t c = 0; c < channels; c += LANES) {
                const __mmask16 lanes = lanes_at(c, channels);
                __m512 dz, normal;
                read(cell, c, lanes, &dz, &normal);
                dz = _mm512_sub_ps(dz, _mm512_maskz_loadu_ps(lanes, b + c));
                dz = _mm512_fnmadd_ps(normal, _mm512_maskz_loadu_ps(lanes, g + c), dz);
                store(out + cell * channels + c, lanes, _mm512_mul_ps(dz, _mm512_maskz_loadu_ps(lanes, s + c)));
            }
        }
    });
    return {dx, gamma.to(at::kFloat), beta.to(at::kFloat)};
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    m.def("depthwise", &depthwise);
    m.def("depthwise_backward", &depthwise_backward);
    m.def("statistics", &statistics);
    m.def("scale_shift", &scale_shift);
    m.def("batch_norm_backward", &batch_norm_backward);
}
