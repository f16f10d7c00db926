/* V4L2 devices in user space. The program under test preloads this library, which wraps functions of the C library that
 * libcamera's preload (libcamerify) wraps too: open, open64, openat, openat64, close, mmap, mmap64 and ioctl. Like that one it
 * doesn't wrap syscall(), so a program that reaches a camera past these functions finds no device here.
 *
 * FAKE_V4L2 names a folder. A file videoN in it describes /dev/videoN, which need only exist as a file; README.md has the
 * language. A description is read at every open. What is done to a device is appended to videoN.log. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define BUFFER_BYTES (4u << 20) /* a multiple of every page size */
enum { BUFFERS = 8, FORMATS = 32, CONTROLS = 64, ITEMS = 64, FAILS = 32, FRAMES = 16, DESCRIPTORS = 1024 };

struct format {
    uint32_t code;
    unsigned width, height, rate;
};

struct control {
    uint32_t id, type, flags, master;
    int64_t minimum, maximum, standard, value, master_value;
    uint64_t step;
    char name[32];
};

struct item {
    uint32_t id, index;
    char name[32];
};

struct fail {
    char call[32]; /* a request, or a request and a control: S_CTRL:0x980900 */
    int error;
};

struct frame {
    unsigned char *bytes;
    size_t length;
};

struct device {
    int number;
    char driver[16], card[32], bus[32];
    uint32_t caps, planes, padding, offset, field;
    double fps;
    bool no_rates, no_sizes, no_parm, no_ext_controls, resets;
    struct format formats[FORMATS];
    struct control controls[CONTROLS];
    struct item items[ITEMS];
    struct fail fails[FAILS];
    struct frame frames[FRAMES];
    unsigned format_count, control_count, item_count, fail_count, frame_count;

    int memory; /* the buffers' pages */
    unsigned char *pages;
    unsigned buffers, queue[BUFFERS], queued, width, height;
    uint32_t code, numerator, denominator, sequence;
    bool streaming;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct device *opened[DESCRIPTORS];

static void give_up(const char *what)
{
    fprintf(stderr, "fake_v4l2: %s\n", what);
    abort();
}

#define REAL(function) \
    static __typeof__(&function) real; \
    if (real == NULL && (real = (__typeof__(real))dlsym(RTLD_NEXT, #function)) == NULL) \
    give_up("the C library lacks " #function)

static int real_close(int fd)
{
    REAL(close);
    return real(fd);
}

static int real_openat(int folder, const char *path, int flags, mode_t mode)
{
    REAL(openat);
    return real(folder, path, flags, mode);
}

static void *real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    REAL(mmap);
    return real(at, length, protection, flags, fd, offset);
}

static FILE *in_folder(int number, const char *ending, const char *mode)
{
    const char *folder = getenv("FAKE_V4L2");
    char path[PATH_MAX];
    if (folder == NULL || snprintf(path, sizeof path, "%s/video%d%s", folder, number, ending) >= (int)sizeof path)
        return NULL;
    int fd = real_openat(AT_FDCWD, path, *mode == 'a' ? O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644);
    return fd < 0 ? NULL : fdopen(fd, mode);
}

__attribute__((format(printf, 2, 3))) static void note(const struct device *device, const char *words, ...)
{
    FILE *file = in_folder(device->number, ".log", "a");
    if (file == NULL)
        return;
    va_list arguments;
    va_start(arguments, words);
    vfprintf(file, words, arguments);
    va_end(arguments);
    fputc('\n', file);
    fclose(file);
}

/* The description. */

static uint32_t code_of(const char *name)
{
    unsigned char bytes[4] = {' ', ' ', ' ', ' '};
    for (int i = 0; i < 4 && name[i] != '\0'; i++)
        bytes[i] = (unsigned char)name[i];
    return v4l2_fourcc(bytes[0], bytes[1], bytes[2], bytes[3]);
}

static void take_frame(struct device *device, const char *path)
{
    if (device->frame_count == FRAMES)
        give_up("too many frames");
    int fd = real_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0)
        give_up("a frame's file can't be read");
    struct frame *frame = &device->frames[device->frame_count++];
    frame->length = (size_t)about.st_size < BUFFER_BYTES ? (size_t)about.st_size : BUFFER_BYTES;
    frame->bytes = malloc(frame->length + 1);
    if (frame->bytes == NULL || read(fd, frame->bytes, frame->length) != (ssize_t)frame->length)
        give_up("a frame's file can't be read");
    real_close(fd);
}

static void take_control(struct device *device, const char *rest)
{
    if (device->control_count == CONTROLS)
        give_up("too many controls");
    struct control *control = &device->controls[device->control_count];
    int at = 0;
    if (sscanf(rest, "%x %u %ld %ld %lu %ld %x %n", &control->id, &control->type, &control->minimum, &control->maximum,
               &control->step, &control->standard, &control->flags, &at) != 7 || at == 0)
        give_up("control: ID TYPE MINIMUM MAXIMUM STEP DEFAULT FLAGS NAME");
    snprintf(control->name, sizeof control->name, "%s", rest + at);
    control->value = control->standard;
    device->control_count++;
}

static struct control *control_of(struct device *device, uint32_t id)
{
    for (unsigned i = 0; i < device->control_count; i++)
        if (device->controls[i].id == id)
            return &device->controls[i];
    return NULL;
}

static void take_line(struct device *device, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *rest = strchr(line, ' ');
    if (rest != NULL)
        *rest++ = '\0';
    else
        rest = line + strlen(line);
    if (strcmp(line, "driver") == 0)
        snprintf(device->driver, sizeof device->driver, "%s", rest);
    else if (strcmp(line, "card") == 0)
        snprintf(device->card, sizeof device->card, "%s", rest);
    else if (strcmp(line, "bus") == 0)
        snprintf(device->bus, sizeof device->bus, "%s", rest);
    else if (strcmp(line, "caps") == 0)
        device->caps = (uint32_t)strtoul(rest, NULL, 16);
    else if (strcmp(line, "planes") == 0)
        device->planes = (uint32_t)strtoul(rest, NULL, 10);
    else if (strcmp(line, "padding") == 0)
        device->padding = (uint32_t)strtoul(rest, NULL, 10);
    else if (strcmp(line, "offset") == 0)
        device->offset = (uint32_t)strtoul(rest, NULL, 10);
    else if (strcmp(line, "field") == 0)
        device->field = (uint32_t)strtoul(rest, NULL, 10);
    else if (strcmp(line, "fps") == 0)
        device->fps = strtod(rest, NULL);
    else if (strcmp(line, "without") == 0) {
        device->no_rates |= strstr(rest, "rates") != NULL;
        device->no_sizes |= strstr(rest, "sizes") != NULL;
        device->no_parm |= strstr(rest, "parm") != NULL;
        device->no_ext_controls |= strstr(rest, "ext-controls") != NULL;
    } else if (strcmp(line, "resets") == 0)
        device->resets = true;
    else if (strcmp(line, "frame") == 0)
        take_frame(device, rest);
    else if (strcmp(line, "control") == 0)
        take_control(device, rest);
    else if (strcmp(line, "item") == 0 && device->item_count < ITEMS) {
        struct item *item = &device->items[device->item_count++];
        int at = 0;
        if (sscanf(rest, "%x %u %n", &item->id, &item->index, &at) != 2 || at == 0)
            give_up("item: ID INDEX NAME");
        snprintf(item->name, sizeof item->name, "%s", rest + at);
    } else if (strcmp(line, "active") == 0) {
        uint32_t id, master;
        int64_t value;
        struct control *control;
        if (sscanf(rest, "%x %x %ld", &id, &master, &value) != 3 || (control = control_of(device, id)) == NULL)
            give_up("active: ID MASTER VALUE, after the control");
        control->master = master;
        control->master_value = value;
    } else if (strcmp(line, "fail") == 0 && device->fail_count < FAILS) {
        struct fail *fail = &device->fails[device->fail_count++];
        if (sscanf(rest, "%31s %d", fail->call, &fail->error) != 2)
            give_up("fail: CALL ERRNO");
    } else if (strcmp(line, "format") == 0 && device->format_count < FORMATS) {
        struct format *format = &device->formats[device->format_count++];
        char code[5];
        if (sscanf(rest, "%4s %ux%u %u", code, &format->width, &format->height, &format->rate) != 4)
            give_up("format: CODE WIDTHxHEIGHT RATE");
        format->code = code_of(code);
    } else if (line[0] != '\0' && line[0] != '#')
        give_up(line);
}

static struct device *describe(int number)
{
    FILE *file = in_folder(number, "", "r");
    if (file == NULL)
        return NULL;
    struct device *device = calloc(1, sizeof *device);
    if (device == NULL)
        give_up("no memory");
    device->number = number;
    device->planes = 1;
    device->caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT;
    snprintf(device->driver, sizeof device->driver, "uvcvideo");
    snprintf(device->card, sizeof device->card, "Test Webcam");
    snprintf(device->bus, sizeof device->bus, "usb-0000:01:00.0-%d", number);
    char line[512];
    while (fgets(line, sizeof line, file) != NULL)
        take_line(device, line);
    fclose(file);
    return device;
}

static bool is_multi(const struct device *device)
{
    return (device->caps & V4L2_CAP_VIDEO_CAPTURE) == 0 && (device->caps & V4L2_CAP_VIDEO_CAPTURE_MPLANE) != 0;
}

static uint32_t buffer_type(const struct device *device)
{
    return is_multi(device) ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
}

static bool captures(const struct device *device)
{
    return (device->caps & (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE)) != 0;
}

/* Requests. Each returns 0 or an errno. */

static int enumerate_formats(struct device *device, struct v4l2_fmtdesc *about)
{
    if (!captures(device) || about->type != buffer_type(device))
        return EINVAL;
    unsigned different = 0;
    for (unsigned i = 0; i < device->format_count; i++) {
        bool is_new = true;
        for (unsigned j = 0; j < i; j++)
            is_new &= device->formats[j].code != device->formats[i].code;
        if (is_new && different++ == about->index) {
            about->pixelformat = device->formats[i].code;
            snprintf((char *)about->description, sizeof about->description, "format %u", about->index);
            return 0;
        }
    }
    return EINVAL;
}

static int enumerate_sizes(struct device *device, struct v4l2_frmsizeenum *about)
{
    if (device->no_sizes)
        return ENOTTY;
    unsigned nth = 0;
    for (unsigned i = 0; i < device->format_count; i++)
        if (device->formats[i].code == about->pixel_format && nth++ == about->index) {
            about->type = V4L2_FRMSIZE_TYPE_DISCRETE;
            about->discrete.width = device->formats[i].width;
            about->discrete.height = device->formats[i].height;
            return 0;
        }
    return EINVAL;
}

static const struct format *format_of(struct device *device, uint32_t code, unsigned width, unsigned height)
{
    const struct format *found = NULL;
    for (unsigned i = 0; i < device->format_count; i++) {
        const struct format *format = &device->formats[i];
        if (format->code == code && (found == NULL || (format->width == width && format->height == height)))
            found = format;
    }
    return found;
}

static int enumerate_rates(struct device *device, struct v4l2_frmivalenum *about)
{
    const struct format *format = format_of(device, about->pixel_format, about->width, about->height);
    if (device->no_rates)
        return ENOTTY;
    if (format == NULL || about->index > 0)
        return EINVAL;
    about->type = V4L2_FRMIVAL_TYPE_DISCRETE;
    about->discrete.numerator = 1;
    about->discrete.denominator = format->rate;
    return 0;
}

/* Bytes of a row, and of a picture. */
static uint32_t row_of(const struct device *device, uint32_t code, unsigned width)
{
    switch (code) {
    case V4L2_PIX_FMT_MJPEG:
    case V4L2_PIX_FMT_JPEG:
        return 0;
    case V4L2_PIX_FMT_YUYV:
    case V4L2_PIX_FMT_UYVY:
        return width * 2 + device->padding;
    case V4L2_PIX_FMT_RGB24:
    case V4L2_PIX_FMT_BGR24:
        return width * 3 + device->padding;
    default:
        return width + device->padding;
    }
}

static uint32_t picture_of(const struct device *device, uint32_t code, unsigned width, unsigned height)
{
    uint32_t row = row_of(device, code, width);
    if (row == 0)
        return width * height;
    bool is_420 = code == V4L2_PIX_FMT_NV12 || code == V4L2_PIX_FMT_YUV420 || code == V4L2_PIX_FMT_NV12M;
    return row * height + (is_420 ? row * height / 2 : 0);
}

static int set_format(struct device *device, struct v4l2_format *wanted)
{
    if (!captures(device) || wanted->type != buffer_type(device))
        return EINVAL;
    if (device->buffers > 0)
        return EBUSY;
    bool multi = is_multi(device);
    uint32_t code = multi ? wanted->fmt.pix_mp.pixelformat : wanted->fmt.pix.pixelformat;
    unsigned width = multi ? wanted->fmt.pix_mp.width : wanted->fmt.pix.width;
    unsigned height = multi ? wanted->fmt.pix_mp.height : wanted->fmt.pix.height;
    const struct format *format = format_of(device, code, width, height);
    if (format == NULL)
        return EINVAL;
    device->code = code;
    device->width = format->width;
    device->height = format->height;
    uint32_t row = row_of(device, code, device->width);
    uint32_t bytes = picture_of(device, code, device->width, device->height);
    if (multi) {
        struct v4l2_pix_format_mplane *set = &wanted->fmt.pix_mp;
        set->width = device->width;
        set->height = device->height;
        set->num_planes = (uint8_t)device->planes;
        set->field = device->field ? device->field : V4L2_FIELD_NONE;
        set->colorspace = V4L2_COLORSPACE_SRGB;
        memset(set->plane_fmt, 0, sizeof set->plane_fmt);
        for (uint32_t i = 0; i < device->planes && i < VIDEO_MAX_PLANES; i++) {
            set->plane_fmt[i].bytesperline = row;
            set->plane_fmt[i].sizeimage = bytes + device->offset;
        }
    } else {
        struct v4l2_pix_format *set = &wanted->fmt.pix;
        set->width = device->width;
        set->height = device->height;
        set->bytesperline = row;
        set->sizeimage = bytes;
        set->field = device->field ? device->field : V4L2_FIELD_NONE;
        set->colorspace = V4L2_COLORSPACE_SRGB;
    }
    note(device, "S_FMT %.4s %ux%u", (const char *)&code, device->width, device->height);
    return 0;
}

static int rate(struct device *device, struct v4l2_streamparm *about, bool set)
{
    if (device->no_parm)
        return ENOTTY;
    if (about->type != buffer_type(device))
        return EINVAL;
    struct v4l2_captureparm *capture = &about->parm.capture;
    if (set && capture->timeperframe.denominator > 0 && capture->timeperframe.numerator > 0) {
        device->numerator = capture->timeperframe.numerator;
        device->denominator = capture->timeperframe.denominator;
        note(device, "S_PARM %u/%u", device->numerator, device->denominator);
    }
    capture->capability = V4L2_CAP_TIMEPERFRAME;
    capture->timeperframe.numerator = device->denominator > 0 ? device->numerator : 1;
    capture->timeperframe.denominator = device->denominator > 0 ? device->denominator : 30;
    return 0;
}

static uint32_t flags_of(struct device *device, const struct control *control)
{
    const struct control *master = control->master == 0 ? NULL : control_of(device, control->master);
    bool is_active = master == NULL || master->value == control->master_value;
    return control->flags | (is_active ? 0 : V4L2_CTRL_FLAG_INACTIVE);
}

static struct control *next_control(struct device *device, uint32_t asked)
{
    uint32_t id = asked & ~(V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND);
    if (asked == id)
        return control_of(device, id);
    struct control *next = NULL;
    for (unsigned i = 0; i < device->control_count; i++) {
        struct control *control = &device->controls[i];
        if (control->id > id && (next == NULL || control->id < next->id))
            next = control;
    }
    return next;
}

static int query_control(struct device *device, struct v4l2_queryctrl *about)
{
    const struct control *control = next_control(device, about->id);
    if (control == NULL)
        return EINVAL;
    about->id = control->id;
    about->type = control->type;
    memcpy(about->name, control->name, sizeof control->name);
    about->minimum = (int32_t)control->minimum;
    about->maximum = (int32_t)control->maximum;
    about->step = (int32_t)control->step;
    about->default_value = (int32_t)control->standard;
    about->flags = flags_of(device, control);
    return 0;
}

static int query_ext_control(struct device *device, struct v4l2_query_ext_ctrl *about)
{
    if (device->no_ext_controls)
        return ENOTTY;
    const struct control *control = next_control(device, about->id);
    if (control == NULL)
        return EINVAL;
    about->id = control->id;
    about->type = control->type;
    memcpy(about->name, control->name, sizeof control->name);
    about->minimum = control->minimum;
    about->maximum = control->maximum;
    about->step = control->step;
    about->default_value = control->standard;
    about->flags = flags_of(device, control);
    about->elems = 1;
    about->elem_size = control->type == V4L2_CTRL_TYPE_INTEGER64 ? 8 : 4;
    return 0;
}

static int query_item(struct device *device, struct v4l2_querymenu *about)
{
    for (unsigned i = 0; i < device->item_count; i++) {
        const struct item *item = &device->items[i];
        if (item->id != about->id || item->index != about->index)
            continue;
        const struct control *control = control_of(device, about->id);
        if (control != NULL && control->type == V4L2_CTRL_TYPE_INTEGER_MENU)
            about->value = strtoll(item->name, NULL, 10);
        else
            memcpy(about->name, item->name, sizeof item->name);
        return 0;
    }
    return EINVAL;
}

static int refusal_of(const struct device *device, const char *call)
{
    for (unsigned i = 0; i < device->fail_count; i++)
        if (strcmp(device->fails[i].call, call) == 0)
            return device->fails[i].error;
    return 0;
}

static int set_control(struct device *device, uint32_t id, int64_t value, int64_t *held)
{
    char call[32];
    snprintf(call, sizeof call, "S_CTRL:%#x", id);
    int error = refusal_of(device, call);
    struct control *control = control_of(device, id);
    if (control == NULL)
        error = EINVAL;
    else if (error == 0 && (control->flags & V4L2_CTRL_FLAG_READ_ONLY) != 0)
        error = EACCES;
    else if (error == 0 && (control->flags & V4L2_CTRL_FLAG_GRABBED) != 0)
        error = EBUSY;
    else if (error == 0 && (flags_of(device, control) & V4L2_CTRL_FLAG_INACTIVE) != 0)
        error = EACCES; /* as uvcvideo */
    else if (error == 0 && control->type != V4L2_CTRL_TYPE_BUTTON && (value < control->minimum || value > control->maximum))
        error = ERANGE;
    note(device, "S_CTRL %#x %ld %s", id, (long)value, error == 0 ? "ok" : strerrorname_np(error));
    if (error != 0)
        return error;
    if (control->type == V4L2_CTRL_TYPE_INTEGER && control->step > 1)
        value -= (value - control->minimum) % (int64_t)control->step;
    control->value = value;
    *held = value;
    return 0;
}

static int ext_controls(struct device *device, struct v4l2_ext_controls *about, bool set)
{
    if (device->no_ext_controls)
        return ENOTTY;
    for (uint32_t i = 0; i < about->count; i++) {
        struct v4l2_ext_control *one = &about->controls[i];
        const struct control *control = control_of(device, one->id);
        about->error_idx = i;
        if (control == NULL)
            return EINVAL;
        bool is_wide = control->type == V4L2_CTRL_TYPE_INTEGER64;
        int64_t held = control->value;
        if (set) {
            int error = set_control(device, one->id, is_wide ? one->value64 : one->value, &held);
            if (error != 0)
                return error;
        } else if ((control->flags & V4L2_CTRL_FLAG_WRITE_ONLY) != 0)
            return EACCES;
        if (is_wide)
            one->value64 = held;
        else
            one->value = (int32_t)held;
    }
    return 0;
}

static int one_control(struct device *device, struct v4l2_control *about, bool set)
{
    const struct control *control = control_of(device, about->id);
    if (control == NULL)
        return EINVAL;
    int64_t held = control->value;
    int error = set ? set_control(device, about->id, about->value, &held) : 0;
    about->value = (int32_t)held;
    return error;
}

static int request_buffers(struct device *device, struct v4l2_requestbuffers *about)
{
    if (about->type != buffer_type(device) || about->memory != V4L2_MEMORY_MMAP)
        return EINVAL;
    about->count = about->count < BUFFERS ? about->count : BUFFERS;
    device->buffers = about->count;
    device->queued = 0;
    return 0;
}

static int query_buffer(struct device *device, struct v4l2_buffer *about)
{
    if (about->index >= device->buffers || about->type != buffer_type(device))
        return EINVAL;
    if (is_multi(device)) {
        if (about->m.planes == NULL || about->length < device->planes)
            return EINVAL;
        about->m.planes[0].length = BUFFER_BYTES;
        about->m.planes[0].m.mem_offset = about->index * BUFFER_BYTES;
        about->length = device->planes;
        return 0;
    }
    about->length = BUFFER_BYTES;
    about->m.offset = about->index * BUFFER_BYTES;
    return 0;
}

static int queue_buffer(struct device *device, const struct v4l2_buffer *about)
{
    if (about->index >= device->buffers || about->type != buffer_type(device))
        return EINVAL;
    if (is_multi(device) && (about->m.planes == NULL || about->length < device->planes))
        return EINVAL;
    for (unsigned i = 0; i < device->queued; i++)
        if (device->queue[i] == about->index)
            return EINVAL;
    device->queue[device->queued++] = about->index;
    return 0;
}

static int stream(struct device *device, int fd, const int *type, bool on)
{
    if ((uint32_t)*type != buffer_type(device))
        return EINVAL;
    double rate = device->fps > 0 ? device->fps : device->denominator > 0 ? (double)device->denominator / device->numerator : 30;
    long nanoseconds = (long)(1e9 / rate);
    struct timespec interval = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    struct itimerspec timer = {0};
    if (on)
        timer = (struct itimerspec){.it_interval = interval, .it_value = interval};
    if (timerfd_settime(fd, 0, &timer, NULL) != 0)
        return errno;
    for (unsigned i = 0; on && device->resets && i < device->control_count; i++)
        device->controls[i].value = device->controls[i].standard;
    device->streaming = on;
    device->queued = on ? device->queued : 0;
    note(device, on ? "STREAMON" : "STREAMOFF");
    return 0;
}

static bool is_away(const struct device *device)
{
    FILE *file = in_folder(device->number, "", "r");
    if (file != NULL)
        fclose(file);
    return file == NULL;
}

static int dequeue_buffer(struct device *device, int fd, struct v4l2_buffer *about)
{
    uint64_t frames = 0;
    if (about->type != buffer_type(device) || !device->streaming)
        return EINVAL;
    if (is_away(device))
        return ENODEV;
    if (is_multi(device) && (about->m.planes == NULL || about->length < device->planes))
        return EINVAL;
    if (read(fd, &frames, sizeof frames) != sizeof frames)
        return EAGAIN;
    /* All that came since the last call went into the buffers that were queued, and the rest was lost. */
    device->sequence += (uint32_t)frames - 1;
    if (device->queued == 0) {
        device->sequence++;
        return EAGAIN;
    }
    unsigned index = device->queue[0];
    memmove(device->queue, device->queue + 1, --device->queued * sizeof device->queue[0]);
    unsigned char *to = device->pages + (size_t)index * BUFFER_BYTES + device->offset;
    uint32_t length = picture_of(device, device->code, device->width, device->height);
    if (device->frame_count > 0) {
        const struct frame *frame = &device->frames[device->sequence % device->frame_count];
        length = (uint32_t)frame->length;
        memcpy(to, frame->bytes, length < BUFFER_BYTES - device->offset ? length : BUFFER_BYTES - device->offset);
    } else
        memset(to, 0x80, length < BUFFER_BYTES - device->offset ? length : BUFFER_BYTES - device->offset);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    about->index = index;
    about->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    about->sequence = device->sequence++;
    about->timestamp = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    if (is_multi(device)) {
        about->m.planes[0].bytesused = length + device->offset;
        about->m.planes[0].data_offset = device->offset;
        about->m.planes[0].length = BUFFER_BYTES;
    } else {
        about->bytesused = length;
        about->length = BUFFER_BYTES;
    }
    return 0;
}

static int capability(const struct device *device, struct v4l2_capability *about)
{
    memset(about, 0, sizeof *about);
    memcpy(about->driver, device->driver, sizeof device->driver);
    memcpy(about->card, device->card, sizeof device->card);
    memcpy(about->bus_info, device->bus, sizeof device->bus);
    about->device_caps = device->caps;
    about->capabilities = device->caps | V4L2_CAP_DEVICE_CAPS;
    return 0;
}

static int answer(struct device *device, int fd, unsigned long request, void *argument)
{
    static const struct {
        unsigned long request;
        const char *name;
    } names[] = {
        {VIDIOC_QUERYCAP, "QUERYCAP"}, {VIDIOC_S_FMT, "S_FMT"},       {VIDIOC_REQBUFS, "REQBUFS"},   {VIDIOC_QUERYBUF, "QUERYBUF"},
        {VIDIOC_QBUF, "QBUF"},         {VIDIOC_DQBUF, "DQBUF"},       {VIDIOC_STREAMON, "STREAMON"}, {VIDIOC_STREAMOFF, "STREAMOFF"},
        {VIDIOC_S_PARM, "S_PARM"},     {VIDIOC_ENUM_FMT, "ENUM_FMT"}, {VIDIOC_S_EXT_CTRLS, "S_EXT_CTRLS"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        /* REQBUFS that frees is what everybody sends to learn whether a device is busy; it fails only for one that is. */
        bool frees = request == VIDIOC_REQBUFS && ((struct v4l2_requestbuffers *)argument)->count == 0;
        int error = names[i].request == request ? refusal_of(device, names[i].name) : 0;
        if (error != 0 && !(frees && error != EBUSY))
            return error;
    }
    switch (request) {
    case VIDIOC_QUERYCAP: return capability(device, argument);
    case VIDIOC_ENUM_FMT: return enumerate_formats(device, argument);
    case VIDIOC_ENUM_FRAMESIZES: return enumerate_sizes(device, argument);
    case VIDIOC_ENUM_FRAMEINTERVALS: return enumerate_rates(device, argument);
    case VIDIOC_S_FMT: return set_format(device, argument);
    case VIDIOC_G_PARM: return rate(device, argument, false);
    case VIDIOC_S_PARM: return rate(device, argument, true);
    case VIDIOC_QUERYCTRL: return query_control(device, argument);
    case VIDIOC_QUERY_EXT_CTRL: return query_ext_control(device, argument);
    case VIDIOC_QUERYMENU: return query_item(device, argument);
    case VIDIOC_G_CTRL: return one_control(device, argument, false);
    case VIDIOC_S_CTRL: return one_control(device, argument, true);
    case VIDIOC_G_EXT_CTRLS: return ext_controls(device, argument, false);
    case VIDIOC_S_EXT_CTRLS: return ext_controls(device, argument, true);
    case VIDIOC_REQBUFS: return request_buffers(device, argument);
    case VIDIOC_QUERYBUF: return query_buffer(device, argument);
    case VIDIOC_QBUF: return queue_buffer(device, argument);
    case VIDIOC_DQBUF: return dequeue_buffer(device, fd, argument);
    case VIDIOC_STREAMON: return stream(device, fd, argument, true);
    case VIDIOC_STREAMOFF: return stream(device, fd, argument, false);
    default: return ENOTTY;
    }
}

/* What is wrapped. */

/* The number of /dev/videoN, also behind links; -1 of any other path. */
static int number_of(const char *path)
{
    char whole[PATH_MAX];
    if (getenv("FAKE_V4L2") == NULL || strncmp(path, "/dev/v", 6) != 0 || realpath(path, whole) == NULL)
        return -1;
    int number = -1, end = 0;
    return sscanf(whole, "/dev/video%d%n", &number, &end) == 1 && whole[end] == '\0' ? number : -1;
}

static int open_any(int folder, const char *path, int flags, mode_t mode)
{
    int number = number_of(path);
    struct device *device = number < 0 ? NULL : describe(number);
    if (number < 0)
        return real_openat(folder, path, flags, mode);
    if (device == NULL) {
        errno = ENODEV;
        return -1;
    }
    int error = refusal_of(device, "open");
    /* A timer is readable when a frame is due. */
    int fd = error != 0 ? -1 : timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | ((flags & O_CLOEXEC) != 0 ? TFD_CLOEXEC : 0));
    if (fd < 0 || fd >= DESCRIPTORS) {
        free(device);
        errno = error != 0 ? error : EMFILE;
        return -1;
    }
    device->memory = memfd_create("fake_v4l2", MFD_CLOEXEC);
    if (device->memory < 0 || ftruncate(device->memory, (off_t)BUFFERS * BUFFER_BYTES) != 0)
        give_up("no memory for buffers");
    device->pages = real_mmap(NULL, (size_t)BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, device->memory, 0);
    if (device->pages == MAP_FAILED)
        give_up("no memory for buffers");
    note(device, "open");
    pthread_mutex_lock(&lock);
    opened[fd] = device;
    pthread_mutex_unlock(&lock);
    return fd;
}

static struct device *device_of(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS ? opened[fd] : NULL;
}

static mode_t mode_of(int flags, va_list arguments)
{
    bool has_one = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    return has_one ? (mode_t)va_arg(arguments, unsigned) : 0;
}

#define WRAP_OPEN(name, folder, ...) \
    EXPORT int name(__VA_ARGS__, ...) \
    { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_of(flags, arguments); \
        va_end(arguments); \
        return open_any(folder, path, flags, mode); \
    }

WRAP_OPEN(open, AT_FDCWD, const char *path, int flags)
WRAP_OPEN(open64, AT_FDCWD, const char *path, int flags)
WRAP_OPEN(openat, at, int at, const char *path, int flags)
WRAP_OPEN(openat64, at, int at, const char *path, int flags)

EXPORT int close(int fd)
{
    pthread_mutex_lock(&lock);
    struct device *device = device_of(fd);
    if (device != NULL)
        opened[fd] = NULL;
    pthread_mutex_unlock(&lock);
    if (device != NULL) {
        note(device, "close");
        munmap(device->pages, (size_t)BUFFERS * BUFFER_BYTES);
        real_close(device->memory);
        for (unsigned i = 0; i < device->frame_count; i++)
            free(device->frames[i].bytes);
        free(device);
    }
    return real_close(fd);
}

static void *map(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    const struct device *device = device_of(fd);
    return real_mmap(at, length, protection, flags, device != NULL ? device->memory : fd, offset);
}

EXPORT void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return map(at, length, protection, flags, fd, offset);
}

EXPORT void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset)
{
    return map(at, length, protection, flags, fd, offset);
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    REAL(ioctl);
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    struct device *device = device_of(fd);
    if (device == NULL)
        return real(fd, request, argument);
    pthread_mutex_lock(&lock);
    int error = answer(device, fd, request, argument);
    pthread_mutex_unlock(&lock);
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}
