/*
 * libjpeg-turbo's own API behind functions that return: counts warnings by their codes, notices what libjpeg fills in without
 * a warning, and begins every picture without the tables of the one before. What is damage is decided in
 * src/jpeg/findings.rs.
 *
 * The TurboJPEG API, which the rest of the program uses, keeps only the text of the first warning.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "jpeg.h"

#if BITS_IN_JSAMPLE != 8
#error "libjpeg is built for other samples than those of 8 bits"
#endif

#if JPEG_LIB_VERSION >= 70
#define SCALED(thing) ((thing)->DCT_h_scaled_size)
#define SET_SCALED(thing, size) ((thing)->DCT_h_scaled_size = (thing)->DCT_v_scaled_size = (size))
#define SMALLEST_SCALED(info) ((info)->min_DCT_h_scaled_size)
#else
#define SCALED(thing) ((thing)->DCT_scaled_size)
#define SET_SCALED(thing, size) ((thing)->DCT_scaled_size = (size))
#define SMALLEST_SCALED(info) ((info)->min_DCT_scaled_size)
#endif

/* Rows of one component in a row of MCUs. */
#define MOST_ROWS (MAX_SAMP_FACTOR * DCTSIZE)

/* Components of a picture whose planes are decoded as they are. */
#define MOST_PLANES 3

/* The tables of annex K.3 are number 0, luma, and number 1, chroma. */
#define STANDARD_TABLES 2

/*
 * So many zero bytes at the end of a scan are its own. The decoder reads up to 8 bytes ahead; of the scan's own bytes, the last
 * one or two can be zero.
 */
#define MOST_ZEROS 16

/* The first member of libjpeg's internal structure, the same in all its versions: chooses each component's inverse DCT. */
struct jpeg_inverse_dct {
  void (*start_pass)(j_decompress_ptr info);
};

struct pspnetd_jpeg {
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf caller;
  int outcome;
  char text[JMSG_LENGTH_MAX];
  struct pspnetd_jpeg_findings found;
  /* The picture's bytes. */
  const JOCTET *begin, *end;
  /* Second byte of the SOF marker. */
  int process;
  int most_scans;
  int has_several_scans;
  /* A bit for each component that a scan brought. */
  uint32_t brought;
  /* What a picture's tables are read to, and the standard ones. */
  JHUFF_TBL dc[NUM_HUFF_TBLS], ac[NUM_HUFF_TBLS];
  JQUANT_TBL quantisation[NUM_QUANT_TBLS];
  JHUFF_TBL standard_dc[STANDARD_TABLES], standard_ac[STANDARD_TABLES];
};

static struct pspnetd_jpeg *self_of(j_common_ptr info) { return info->client_data; }

/* ---- what libjpeg reports ---- */

static void on_error(j_common_ptr info)
{
  struct pspnetd_jpeg *self = self_of(info);
  int code = info->err->msg_code;

  self->outcome = code == JERR_OUT_OF_MEMORY || code == JERR_NO_BACKING_STORE ? PSPNETD_JPEG_NO_MEMORY : PSPNETD_JPEG_FAILED;
  info->err->format_message(info, self->text);
  longjmp(self->caller, 1);
}

static void on_message(j_common_ptr info, int level)
{
  struct pspnetd_jpeg *self = self_of(info);
  const struct jpeg_error_mgr *message = info->err;

  if (level >= 0) {
    if (message->msg_code == JTRC_SOF) self->process = message->msg_parm.i[0];
    return;
  }
  switch (message->msg_code) {
  case JWRN_EXTRANEOUS_DATA:
    self->found.extraneous++;
    self->found.extraneous_bytes += (uint32_t)message->msg_parm.i[0];
    break;
  case JWRN_JFIF_MAJOR:
  case JWRN_ADOBE_XFORM:
  case JWRN_BOGUS_ICC:
  case JWRN_NOT_SEQUENTIAL:
    self->found.odd_header++;
    break;
  case JWRN_HIT_MARKER:
    self->found.ended_early++;
    break;
  case JWRN_HUFF_BAD_CODE:
  case JWRN_ARITH_BAD_CODE:
    self->found.bad_codes++;
    break;
  case JWRN_MUST_RESYNC:
    self->found.out_of_step++;
    break;
  case JWRN_BOGUS_PROGRESSION:
    self->found.inconsistent_scans++;
    break;
  default:
    self->found.other++;
    self->found.other_code = (uint32_t)message->msg_code;
    break;
  }
}

/* Called only where somebody wants messages on standard error. */
static void say_nothing(j_common_ptr info) { (void)info; }

/* ---- the bytes ---- */

static void begin_source(j_decompress_ptr info) { (void)info; }

/* The end of the data counts as an EOI marker. */
static boolean supply_end(j_decompress_ptr info)
{
  static const JOCTET end[2] = { 0xFF, JPEG_EOI };

  self_of((j_common_ptr)info)->found.without_end = 1;
  info->src->next_input_byte = end;
  info->src->bytes_in_buffer = sizeof end;
  return TRUE;
}

static void skip(j_decompress_ptr info, long count)
{
  struct jpeg_source_mgr *source = info->src;

  if (count <= 0) return;
  if ((size_t)count > source->bytes_in_buffer) count = (long)source->bytes_in_buffer;
  source->next_input_byte += count;
  source->bytes_in_buffer -= (size_t)count;
}

static void end_source(j_decompress_ptr info) { (void)info; }

/* Where the decoder reads next; the end where it has read past the data. */
static const JOCTET *position(const struct pspnetd_jpeg *self)
{
  return self->found.without_end ? self->end : self->source.next_input_byte;
}

/* ---- what libjpeg doesn't report ---- */

/*
 * A scan has been read. Zero bytes, with which drivers pad, are valid codes in most tables: a scan that was cut goes on in them as
 * if nothing had happened. It was cut where it took many of them and left others.
 */
static void look_at_scan_end(struct pspnetd_jpeg *self)
{
  const JOCTET *at = position(self);
  int zeros = 0;

  if (at == self->end || *at != 0) return;
  while (at > self->begin && at[-1] == 0 && zeros <= MOST_ZEROS) {
    at--;
    zeros++;
  }
  if (zeros > MOST_ZEROS) self->found.decoded_padding = 1;
}

/* Counts the restart intervals that follow the last of the picture's. A marker alone is harmless. */
static void count_surplus_intervals(struct pspnetd_jpeg *self)
{
  const JOCTET *at = position(self);
  int marker = self->info.unread_marker;

  if (self->info.restart_interval == 0) return;
  for (;;) {
    /* To the next marker. */
    while (marker == 0) {
      if (self->end - at < 2) return;
      if (at[0] == 0xFF && at[1] != 0 && at[1] != 0xFF) {
        marker = at[1];
        at++;
      }
      at++;
    }
    if (marker < JPEG_RST0 || marker > JPEG_RST0 + 7) return;
    marker = 0;
    if (at < self->end && *at != 0 && *at != 0xFF) self->found.surplus_intervals++;
  }
}

/* Called now and then, and between any two scans. */
static void on_progress(j_common_ptr common)
{
  struct pspnetd_jpeg *self = self_of(common);
  j_decompress_ptr info = &self->info;
  int i;

  if (!self->has_several_scans) return;
  if (info->input_scan_number > self->most_scans) {
    self->outcome = PSPNETD_JPEG_TOO_MANY_SCANS;
    longjmp(self->caller, 1);
  }
  for (i = 0; i < info->comps_in_scan; i++) self->brought |= 1u << info->cur_comp_info[i]->component_index;
  if (info->input_iMCU_row == info->total_iMCU_rows) look_at_scan_end(self);
}

/* All scans of several have been read. A picture lacks some where its end was cut off between two of them. */
static void count_missing_scans(struct pspnetd_jpeg *self)
{
  int component, i;

  for (component = 0; component < self->info.num_components; component++) {
    if (!(self->brought >> component & 1)) {
      self->found.missing_scans++;
      continue;
    }
    if (!self->info.progressive_mode) continue;
    /* The bits that each coefficient still lacks; -1 where it lacks all. */
    for (i = 0; i < DCTSIZE2; i++) self->found.missing_scans += self->info.coef_bits[component][i] != 0;
  }
}

/* The rows have been decoded. Ends with the picture. */
static void look_at_end(struct pspnetd_jpeg *self)
{
  j_decompress_ptr info = &self->info;
  int i;

  for (i = 0; i < info->num_components; i++) {
    const JQUANT_TBL *table = info->comp_info[i].quant_table;

    self->found.without_quantisation += table == NULL || table->quantval[0] == 0;
  }
  if (self->has_several_scans) {
    count_missing_scans(self);
  } else {
    look_at_scan_end(self);
    count_surplus_intervals(self);
    /* Goes on to the end marker. In other pictures the data behind the scan are of no interest. */
    if (info->arith_code) jpeg_finish_decompress(info);
  }
  self->found.unknown_end = info->arith_code && self->found.without_end;
  jpeg_abort_decompress(info);
}

/* ---- tables ---- */

/*
 * libjpeg keeps the tables of one picture for the next. They are read to memory of this decoder, which is emptied in between.
 * Setting the pointers to NULL would have libjpeg allocate tables for every picture, and free them with the decoder only.
 */
static void forget_tables(struct pspnetd_jpeg *self)
{
  int i;

  memset(self->dc, 0, sizeof self->dc);
  memset(self->ac, 0, sizeof self->ac);
  memset(self->quantisation, 0, sizeof self->quantisation);
  for (i = 0; i < NUM_HUFF_TBLS; i++) {
    self->info.dc_huff_tbl_ptrs[i] = &self->dc[i];
    self->info.ac_huff_tbl_ptrs[i] = &self->ac[i];
  }
  for (i = 0; i < NUM_QUANT_TBLS; i++) self->info.quant_tbl_ptrs[i] = &self->quantisation[i];
}

static int is_empty(const JHUFF_TBL *table)
{
  int length, codes = 0;

  for (length = 1; length <= 16; length++) codes |= table->bits[length];
  return codes == 0;
}

/* Frames of Motion JPEG may leave out the Huffman tables, and mean the standard ones then. */
static void supply_standard_tables(struct pspnetd_jpeg *self)
{
  int i;

  if (self->info.progressive_mode || self->info.arith_code) return;
  for (i = 0; i < STANDARD_TABLES; i++) {
    if (is_empty(&self->dc[i])) self->dc[i] = self->standard_dc[i];
    if (is_empty(&self->ac[i])) self->ac[i] = self->standard_ac[i];
  }
}

/* An encoder has the standard tables. */
static void learn_standard_tables(struct pspnetd_jpeg *self, struct jpeg_compress_struct *encoder)
{
  int i;

  jpeg_create_compress(encoder);
  encoder->in_color_space = JCS_RGB;
  encoder->input_components = 3;
  jpeg_set_defaults(encoder);
  for (i = 0; i < STANDARD_TABLES; i++) {
    self->standard_dc[i] = *encoder->dc_huff_tbl_ptrs[i];
    self->standard_ac[i] = *encoder->ac_huff_tbl_ptrs[i];
  }
}

/* ---- decoding ---- */

/* Makes the decoder; 0 where there is no memory. */
static int set_up(struct pspnetd_jpeg *self, struct jpeg_compress_struct *encoder)
{
  self->info.err = encoder->err = jpeg_std_error(&self->errors);
  self->errors.error_exit = on_error;
  self->errors.emit_message = on_message;
  self->errors.output_message = say_nothing;
  self->info.client_data = encoder->client_data = self;
  if (setjmp(self->caller)) return 0;
  learn_standard_tables(self, encoder);
  jpeg_create_decompress(&self->info);
  self->source.init_source = begin_source;
  self->source.fill_input_buffer = supply_end;
  self->source.skip_input_data = skip;
  self->source.resync_to_restart = jpeg_resync_to_restart;
  self->source.term_source = end_source;
  self->info.src = &self->source;
  self->progress.progress_monitor = on_progress;
  self->info.progress = &self->progress;
  return 1;
}

struct pspnetd_jpeg *pspnetd_jpeg_new(uint32_t scans)
{
  struct pspnetd_jpeg *self = calloc(1, sizeof *self);
  struct jpeg_compress_struct *encoder = calloc(1, sizeof *encoder);
  int is_ready = self != NULL && encoder != NULL && set_up(self, encoder);

  if (encoder != NULL) jpeg_destroy_compress(encoder);
  free(encoder);
  if (is_ready) {
    self->most_scans = (int)scans;
    return self;
  }
  pspnetd_jpeg_free(self);
  return NULL;
}

void pspnetd_jpeg_free(struct pspnetd_jpeg *self)
{
  if (self == NULL) return;
  jpeg_destroy_decompress(&self->info);
  free(self);
}

void pspnetd_jpeg_leave(struct pspnetd_jpeg *self) { jpeg_abort_decompress(&self->info); }

const char *pspnetd_jpeg_text(const struct pspnetd_jpeg *self) { return self->text; }

static void begin_picture(struct pspnetd_jpeg *self)
{
  memset(&self->found, 0, sizeof self->found);
  self->outcome = PSPNETD_JPEG_DONE;
  self->process = 0;
  self->brought = 0;
  self->has_several_scans = 0;
  self->source.next_input_byte = self->begin;
  self->source.bytes_in_buffer = (size_t)(self->end - self->begin);
  forget_tables(self);
}

static uint32_t colour_of(const struct jpeg_decompress_struct *info)
{
  switch (info->jpeg_color_space) {
  case JCS_GRAYSCALE:
    return PSPNETD_JPEG_GREY;
  case JCS_YCbCr:
    return PSPNETD_JPEG_YCC;
  case JCS_RGB:
    return PSPNETD_JPEG_RGB;
  case JCS_CMYK:
  case JCS_YCCK:
    return PSPNETD_JPEG_INK;
  default:
    return PSPNETD_JPEG_OTHER;
  }
}

static void describe(const struct pspnetd_jpeg *self, struct pspnetd_jpeg_header *header)
{
  const struct jpeg_decompress_struct *info = &self->info;
  int i;

  memset(header, 0, sizeof *header);
  header->width = info->image_width;
  header->height = info->image_height;
  header->colour = colour_of(info);
  header->components = (uint32_t)info->num_components;
  header->precision = (uint32_t)info->data_precision;
  header->process = (uint32_t)self->process;
  for (i = 0; i < info->num_components && i < 4; i++) {
    header->across[i] = (uint8_t)info->comp_info[i].h_samp_factor;
    header->down[i] = (uint8_t)info->comp_info[i].v_samp_factor;
  }
}

int pspnetd_jpeg_read(struct pspnetd_jpeg *self, const uint8_t *data, size_t length, struct pspnetd_jpeg_header *header)
{
  self->begin = data;
  self->end = data + length;
  if (setjmp(self->caller)) {
    jpeg_abort_decompress(&self->info);
    if (self->outcome != PSPNETD_JPEG_FAILED || self->errors.msg_code != JERR_SOI_DUPLICATE || self->found.without_end)
      return self->outcome;
    /* A second SOI marker: the picture begins there. Each time there is less left. */
    self->begin = self->source.next_input_byte - 2;
  }
  begin_picture(self);
  if (jpeg_read_header(&self->info, FALSE) != JPEG_HEADER_OK) return PSPNETD_JPEG_NO_PICTURE;
  self->has_several_scans = jpeg_has_multiple_scans(&self->info);
  supply_standard_tables(self);
  describe(self, header);
  return PSPNETD_JPEG_DONE;
}

static int fail(struct pspnetd_jpeg *self, const char *text)
{
  jpeg_abort_decompress(&self->info);
  snprintf(self->text, sizeof self->text, "%s", text);
  return PSPNETD_JPEG_FAILED;
}

static void start(struct pspnetd_jpeg *self, uint32_t divisor)
{
  self->info.scale_num = 1;
  self->info.scale_denom = divisor;
  self->info.dct_method = JDCT_ISLOW;
  jpeg_start_decompress(&self->info);
}

/*
 * Where chroma has half the luma's pixels in both directions, libjpeg leaves it at twice the scale, which spares enlarging it.
 * Planes have the sizes that the sampling factors say.
 */
static void scale_all_alike(struct pspnetd_jpeg *self)
{
  j_decompress_ptr info = &self->info;
  int i, changed = 0;

  for (i = 0; i < info->num_components; i++) {
    jpeg_component_info *component = &info->comp_info[i];

    if (SCALED(component) == SMALLEST_SCALED(info)) continue;
    SET_SCALED(component, SMALLEST_SCALED(info));
    changed = 1;
  }
  if (!changed) return;
  /* Components of other scans have no MCU yet: theirs is worked out when their scan begins. */
  for (i = 0; i < info->comps_in_scan; i++) {
    jpeg_component_info *component = info->cur_comp_info[i];

    component->MCU_sample_width = component->MCU_width * SMALLEST_SCALED(info);
  }
  info->idct->start_pass(info);
}

/* Copies a row of MCUs from the room that it was decoded to. Samples that only fill up the plane stay as they are. */
static void copy_rows(const struct pspnetd_jpeg_plane *plane, JSAMPARRAY room, size_t first, size_t tall, size_t width, size_t height)
{
  size_t most = height < plane->rows ? height : plane->rows;
  size_t row;

  for (row = 0; row < tall && first + row < most; row++)
    memcpy(plane->data + (first + row) * plane->stride, room[row], width < plane->width ? width : plane->width);
}

static void decode_planes(struct pspnetd_jpeg *self, const struct pspnetd_jpeg_plane *planes)
{
  j_decompress_ptr info = &self->info;
  JSAMPROW rows[MOST_PLANES][MOST_ROWS];
  JSAMPARRAY rooms[MOST_PLANES] = { NULL, NULL, NULL };
  JSAMPARRAY data[MOST_PLANES] = { rows[0], rows[1], rows[2] };
  /* What is decoded of each component: whole blocks, and their rows in a row of MCUs. */
  size_t width[MOST_PLANES], height[MOST_PLANES], tall[MOST_PLANES];
  size_t group, row;
  int i;

  for (i = 0; i < info->num_components; i++) {
    const jpeg_component_info *component = &info->comp_info[i];
    size_t block = (size_t)SCALED(component);

    width[i] = component->width_in_blocks * block;
    height[i] = component->height_in_blocks * block;
    tall[i] = (size_t)component->v_samp_factor * block;
    /* Planes of whole blocks are decoded to directly, others through a room for one row of MCUs. */
    if (width[i] != planes[i].width || height[i] != planes[i].rows)
      rooms[i] = (*info->mem->alloc_sarray)((j_common_ptr)info, JPOOL_IMAGE, (JDIMENSION)width[i], (JDIMENSION)tall[i]);
  }
  for (group = 0; info->output_scanline < info->output_height; group++) {
    for (i = 0; i < info->num_components; i++) {
      for (row = 0; row < tall[i]; row++) {
        size_t at = group * tall[i] + row;

        /* libjpeg writes no rows that the picture doesn't have. */
        if (at >= planes[i].rows) at = planes[i].rows - 1;
        rows[i][row] = rooms[i] != NULL ? rooms[i][row] : planes[i].data + at * planes[i].stride;
      }
    }
    jpeg_read_raw_data(info, data, (JDIMENSION)(info->max_v_samp_factor * SMALLEST_SCALED(info)));
    for (i = 0; i < info->num_components; i++) {
      if (rooms[i] != NULL) copy_rows(&planes[i], rooms[i], group * tall[i], tall[i], width[i], height[i]);
    }
  }
}

/* Whether the planes are those that the picture has at its scale. */
static int planes_fit(const struct pspnetd_jpeg *self, const struct pspnetd_jpeg_plane *planes, uint32_t count)
{
  const struct jpeg_decompress_struct *info = &self->info;
  uint32_t i;

  if (count > MOST_PLANES || (int)count != info->num_components) return 0;
  for (i = 0; i < count; i++) {
    const jpeg_component_info *component = &info->comp_info[i];
    size_t across = (size_t)(info->max_h_samp_factor / component->h_samp_factor);
    size_t down = (size_t)(info->max_v_samp_factor / component->v_samp_factor);

    if (info->max_h_samp_factor % component->h_samp_factor != 0 || info->max_v_samp_factor % component->v_samp_factor != 0)
      return 0;
    if (planes[i].rows == 0 || planes[i].width * across < info->output_width || planes[i].rows * down < info->output_height)
      return 0;
    if (planes[i].bytes != 1 || planes[i].stride < planes[i].width) return 0;
  }
  return 1;
}

int pspnetd_jpeg_planes(struct pspnetd_jpeg *self, uint32_t divisor, const struct pspnetd_jpeg_plane *planes, uint32_t count,
                        struct pspnetd_jpeg_findings *findings)
{
  if (setjmp(self->caller)) {
    jpeg_abort_decompress(&self->info);
    return self->outcome;
  }
  self->info.raw_data_out = TRUE;
  start(self, divisor);
  if (!planes_fit(self, planes, count)) return fail(self, "the planes have other sizes than the picture");
  scale_all_alike(self);
  decode_planes(self, planes);
  look_at_end(self);
  *findings = self->found;
  return PSPNETD_JPEG_DONE;
}

int pspnetd_jpeg_packed(struct pspnetd_jpeg *self, uint32_t divisor, const struct pspnetd_jpeg_plane *plane,
                        struct pspnetd_jpeg_findings *findings)
{
  j_decompress_ptr info = &self->info;
  JSAMPROW rows[DCTSIZE];

  if (setjmp(self->caller)) {
    jpeg_abort_decompress(&self->info);
    return self->outcome;
  }
  info->out_color_space = colour_of(info) == PSPNETD_JPEG_INK ? JCS_CMYK : JCS_EXT_RGB;
  start(self, divisor);
  if (info->output_width != plane->width || info->output_height != plane->rows ||
      plane->bytes != (size_t)info->output_components || plane->stride < plane->width * plane->bytes)
    return fail(self, "the room has another size than the picture");
  while (info->output_scanline < info->output_height) {
    JDIMENSION left = info->output_height - info->output_scanline, i;

    for (i = 0; i < DCTSIZE && i < left; i++) rows[i] = plane->data + (info->output_scanline + i) * plane->stride;
    jpeg_read_scanlines(info, rows, i);
  }
  look_at_end(self);
  *findings = self->found;
  return PSPNETD_JPEG_DONE;
}
