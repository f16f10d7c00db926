/* A test double of libedgetpu.so.1: its C interface and the plug-in pair of TensorFlow Lite's external delegates. Never
 * shipped; README.md beside this file says how it is built and told what to do.
 *
 * It runs the CPU model that tests/models/make.py puts into the options of an `edgetpu-custom-op`, so its answers are right
 * unless it is told otherwise. What it prints and how it dies are libedgetpu's own: the format of port/default/
 * port_from_tf/logging.cc, the texts of driver/usb/usb_driver.cc and local_usb_device.cc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"
#include "tflite_opaque.h"

#define API __attribute__((visibility("default")))
#define OPERATOR "edgetpu-custom-op"

/* What the double is told, anew at every call. */

enum { LINE = 256 };

typedef struct {
  long latency_ms, slow_ms, after, debug;
  char version[LINE], at[LINE], fault[LINE];
} Orders;

static Orders read_orders(void) {
  Orders orders = {.version = "BuildLabel(fake), RuntimeVersion(14)", .at = "invoke"};
  const char* path = getenv("FAKE_EDGETPU");
  FILE* file = path ? fopen(path, "re") : NULL;
  if (!file) return orders;
  char line[2 * LINE], key[LINE], value[LINE];
  while (fgets(line, sizeof line, file)) {
    value[0] = 0;
    if (sscanf(line, "%255s %255[^\n]", key, value) < 1 || key[0] == '#') continue;
    if (!strcmp(key, "latency_ms")) orders.latency_ms = atol(value);
    else if (!strcmp(key, "slow_ms")) orders.slow_ms = atol(value);
    else if (!strcmp(key, "after")) orders.after = atol(value);
    else if (!strcmp(key, "debug")) orders.debug = atol(value);
    else if (!strcmp(key, "version")) strcpy(orders.version, value);
    else if (!strcmp(key, "at")) strcpy(orders.at, value);
    else if (!strcmp(key, "fault")) strcpy(orders.fault, value);
    else {
      fprintf(stderr, "fake_edgetpu: %s: unknown key %s\n", path, key);
      _exit(99);
    }
  }
  fclose(file);
  return orders;
}

/* Everything that was called, for tests that have the library in their own process. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char story[8192];

__attribute__((format(printf, 1, 2))) static void tell(const char* format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  pthread_mutex_lock(&lock);
  size_t told = strlen(story);
  snprintf(story + told, sizeof story - told, "%s\n", line);
  pthread_mutex_unlock(&lock);
  if (read_orders().debug) fprintf(stderr, "I fake_edgetpu.c] %s\n", line);
}

/* What was called since the last call of this, one line each. The caller frees it. */
API char* fake_edgetpu_story(void) {
  pthread_mutex_lock(&lock);
  char* copy = strdup(story);
  story[0] = 0;
  pthread_mutex_unlock(&lock);
  return copy;
}

/* Faults */

static void sleep_ms(long ms) {
  struct timespec left = {ms / 1000, ms % 1000 * 1000000};
  while (ms > 0 && nanosleep(&left, &left) && errno == EINTR) continue;
}

/* One format for all: severity, file, line. The fatal ones abort, as they do there. */
__attribute__((noreturn)) static void fatal(const char* where, const char* what) {
  fprintf(stderr, "F %s] %s\n", where, what);
  abort();
}

/* What `at place` says: nothing, or the name of the fault after those that end or stop this process. `invokes` went well. */
static const char* misfortune(const Orders* orders, const char* place, long invokes) {
  if (strcmp(orders->at, place) || invokes < orders->after) return "";
  sleep_ms(orders->slow_ms);
  if (!strcmp(orders->fault, "abort"))
    fatal("driver/usb/usb_driver.cc:857",
          "transfer on tag 1 failed. Abort. Unknown: USB transfer error 1 [LibUsbDataOutCallback]");
  if (!strcmp(orders->fault, "segfault")) {
    int* volatile nowhere = NULL;
    *nowhere = 1;
  }
  if (!strcmp(orders->fault, "hang"))
    for (;;) pause();
  static const char* const others[][2] = {{"create", "error"},  {"create", "denied"}, {"create", "null"},
                                          {"prepare", "error"}, {"invoke", "error"},  {"invoke", "garbage"}};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (!strcmp(others[i][0], place) && !strcmp(others[i][1], orders->fault)) return others[i][1];
  if (orders->fault[0]) {
    fprintf(stderr, "fake_edgetpu: no such fault at %s: %s\n", place, orders->fault);
    _exit(99);
  }
  return "";
}

/* Devices: folders of a sysfs tree. */

enum { PCI = 0, USB = 1, MOST_DEVICES = 32 };

struct edgetpu_device {
  int type;
  const char* path;
};

struct edgetpu_option {
  const char *name, *value;
};

static int starts(const char* path, const char* name, const char* wanted) {
  char full[PATH_MAX], text[16] = "";
  snprintf(full, sizeof full, "%s/%s", path, name);
  FILE* file = fopen(full, "re");
  if (!file) return 0;
  int same = fgets(text, sizeof text, file) && !strncmp(text, wanted, strlen(wanted));
  fclose(file);
  return same;
}

static int is_stick(const char* path, int fresh) {
  return fresh ? starts(path, "idVendor", "1a6e") && starts(path, "idProduct", "089a")
               : starts(path, "idVendor", "18d1") && starts(path, "idProduct", "9302");
}

static size_t add_devices(struct edgetpu_device* devices, size_t count, int type, int fresh) {
  const char* root = getenv("PSPNETD_ROOT");
  char folder[PATH_MAX / 2], path[PATH_MAX];
  snprintf(folder, sizeof folder, "%s%s", root ? root : "", type == USB ? "/sys/bus/usb/devices" : "/sys/class/apex");
  struct dirent** entries;
  int found = scandir(folder, &entries, NULL, alphasort);
  for (int i = 0; i < found; i++) {
    const char* name = entries[i]->d_name;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int is_device = type == USB ? name[0] != '.' && is_stick(path, fresh) : !strncmp(name, "apex_", 5);
    if (is_device && count < MOST_DEVICES) devices[count++] = (struct edgetpu_device){type, strdup(path)};
    free(entries[i]);
  }
  if (found >= 0) free(entries);
  return count;
}

/* In libedgetpu's order: sticks that have no firmware yet come before those that have. */
static struct edgetpu_device* devices_there(size_t* count) {
  struct edgetpu_device* devices = calloc(MOST_DEVICES + 1, sizeof *devices);
  *count = add_devices(devices, 0, PCI, 0);
  *count = add_devices(devices, *count, USB, 1);
  *count = add_devices(devices, *count, USB, 0);
  return devices;
}

API void edgetpu_free_devices(struct edgetpu_device* devices) {
  for (struct edgetpu_device* device = devices; device && device->path; device++) free((char*)device->path);
  free(devices);
}

API struct edgetpu_device* edgetpu_list_devices(size_t* count) {
  struct edgetpu_device* devices = devices_there(count);
  tell("list: %zu", *count);
  if (*count) return devices;
  edgetpu_free_devices(devices);
  return NULL;
}

API const char* edgetpu_version(void) {
  static char version[LINE];
  strcpy(version, read_orders().version);
  return version;
}

API void edgetpu_verbosity(int verbosity) { (void)verbosity; }

/* The operator that runs instead of the compiled one: an interpreter of the CPU model inside. */

typedef struct {
  char device[PATH_MAX]; /* folder of the device; empty for a plug-in without one */
  char model[PATH_MAX];  /* a plug-in's option: this model runs in place of all operators */
} Delegate;

typedef struct {
  const Delegate* delegate;
  void* bytes;
  TfLiteModel* model;
  TfLiteDelegate* xnnpack;
  TfLiteInterpreter* interpreter;
} Kernel;

static void* read_file(const char* path, int* size) {
  FILE* file = fopen(path, "re");
  if (!file) return NULL;
  fseek(file, 0, SEEK_END);
  *size = (int)ftell(file);
  rewind(file);
  void* bytes = aligned_alloc(64, ((size_t)*size + 63) / 64 * 64);
  if (fread(bytes, 1, (size_t)*size, file) != (size_t)*size) *size = 0;
  fclose(file);
  return bytes;
}

static void* kernel_init(TfLiteOpaqueContext* context, const char* buffer, size_t length) {
  (void)length;
  const TfLiteOpaqueDelegateParams* params = (const void*)buffer;
  Kernel* kernel = calloc(1, sizeof *kernel);
  kernel->delegate = params->delegate_data;
  int size = 0;
  if (kernel->delegate->model[0]) {
    kernel->bytes = read_file(kernel->delegate->model, &size);
  } else {
    TfLiteOpaqueNode* node;
    TfLiteOperator* op;
    const void* inside;
    TfLiteOpaqueContextGetNodeAndRegistration(context, params->nodes_to_replace->data[0], &node, &op);
    TfLiteOpaqueNodeGetCustomInitialData(node, &inside, &size);
    kernel->bytes = aligned_alloc(64, ((size_t)size + 63) / 64 * 64);
    if (size) memcpy(kernel->bytes, inside, (size_t)size);
  }
  kernel->model = size ? TfLiteModelCreate(kernel->bytes, (size_t)size) : NULL;
  if (!kernel->model) return kernel;
  TfLiteInterpreterOptions* options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(options, 1);
  /* As the daemon on the CPU does, for the same answer to the bit. */
  TfLiteXNNPackDelegateOptions xnnpack = TfLiteXNNPackDelegateOptionsDefault();
  kernel->xnnpack = TfLiteXNNPackDelegateCreate(&xnnpack);
  TfLiteInterpreterOptionsAddDelegate(options, kernel->xnnpack);
  kernel->interpreter = TfLiteInterpreterCreate(kernel->model, options);
  TfLiteInterpreterOptionsDelete(options);
  return kernel;
}

static void kernel_free(TfLiteOpaqueContext* context, void* data) {
  (void)context;
  tell("kernel free");
  Kernel* kernel = data;
  if (kernel->interpreter) TfLiteInterpreterDelete(kernel->interpreter);
  if (kernel->xnnpack) TfLiteXNNPackDelegateDelete(kernel->xnnpack);
  if (kernel->model) TfLiteModelDelete(kernel->model);
  free(kernel->bytes);
  free(kernel);
}

static TfLiteStatus kernel_prepare(TfLiteOpaqueContext* context, TfLiteOpaqueNode* node) {
  Kernel* kernel = TfLiteOpaqueNodeGetUserData(node);
  if (kernel->interpreter && TfLiteInterpreterAllocateTensors(kernel->interpreter) == kTfLiteOk) return kTfLiteOk;
  TfLiteOpaqueContextReportError(context, "Failed to prepare a custom op.");
  return kTfLiteError;
}

static TfLiteStatus kernel_invoke(TfLiteOpaqueContext* context, TfLiteOpaqueNode* node) {
  static long invokes; /* of this process that went well; guarded by the lock */
  Kernel* kernel = TfLiteOpaqueNodeGetUserData(node);
  Orders orders = read_orders();
  sleep_ms(orders.latency_ms);
  if (kernel->delegate->device[0] && access(kernel->delegate->device, F_OK))
    fatal("driver/usb/usb_driver.cc:1019",
          "HandleQueuedBulkIn transfer in failed. Not found: USB transfer error 5 [LibUsbDataInCallback]");
  pthread_mutex_lock(&lock);
  long before = invokes;
  pthread_mutex_unlock(&lock);
  const char* fault = misfortune(&orders, "invoke", before);
  if (!strcmp(fault, "error")) {
    TfLiteOpaqueContextReportError(context, "%s", "Deadline exceeded: USB transfer error 2 [LibUsbDataOutCallback]");
    return kTfLiteError;
  }
  const TfLiteOpaqueTensor* input = TfLiteOpaqueNodeGetInput(context, node, 0);
  TfLiteOpaqueTensor* output = TfLiteOpaqueNodeGetOutput(context, node, 0);
  unsigned char* bytes = TfLiteOpaqueTensorData(output);
  size_t size = TfLiteOpaqueTensorByteSize(output);
  if (!strcmp(fault, "garbage")) {
    unsigned noise = 12345;
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)((noise = noise * 1664525u + 1013904223u) >> 24);
    return kTfLiteOk;
  }
  TfLiteTensor* own_input = TfLiteInterpreterGetInputTensor(kernel->interpreter, 0);
  const TfLiteTensor* own_output = TfLiteInterpreterGetOutputTensor(kernel->interpreter, 0);
  if (TfLiteTensorCopyFromBuffer(own_input, TfLiteOpaqueTensorData(input), TfLiteOpaqueTensorByteSize(input)) != kTfLiteOk ||
      TfLiteInterpreterInvoke(kernel->interpreter) != kTfLiteOk ||
      TfLiteTensorCopyToBuffer(own_output, bytes, size) != kTfLiteOk) {
    TfLiteOpaqueContextReportError(context, "Internal: the model inside doesn't fit the tensors outside");
    return kTfLiteError;
  }
  pthread_mutex_lock(&lock);
  invokes++;
  pthread_mutex_unlock(&lock);
  return kTfLiteOk;
}

/* Delegates */

static TfLiteStatus replace(TfLiteOpaqueContext* context, TfLiteDelegate* delegate, const TfLiteIntArray* nodes) {
  TfLiteOperator* op = TfLiteOperatorCreate(kTfLiteBuiltinDelegate, "EdgeTpuDelegateForCustomOp", 1);
  TfLiteOperatorSetInit(op, kernel_init);
  TfLiteOperatorSetFree(op, kernel_free);
  TfLiteOperatorSetPrepare(op, kernel_prepare);
  TfLiteOperatorSetInvoke(op, kernel_invoke);
  return TfLiteOpaqueContextReplaceNodeSubsetsWithDelegateKernels(context, op, nodes, delegate);
}

static TfLiteStatus delegate_prepare(TfLiteOpaqueContext* context, TfLiteDelegate* delegate, void* data) {
  const Delegate* own = data;
  Orders orders = read_orders();
  if (!strcmp(misfortune(&orders, "prepare", LONG_MAX), "error")) {
    TfLiteOpaqueContextReportError(context, "Failed precondition: Execution of the package needs a newer runtime");
    return kTfLiteError;
  }
  TfLiteIntArray* plan;
  if (TfLiteOpaqueContextGetExecutionPlan(context, &plan) != kTfLiteOk) return kTfLiteError;
  TfLiteIntArray* taken = TfLiteIntArrayCreate(plan->size); /* the plan changes while nodes are replaced */
  taken->size = 0;
  int there = plan->size;
  for (int i = 0; i < there; i++) {
    TfLiteOpaqueNode* node;
    TfLiteOperator* op;
    if (TfLiteOpaqueContextGetNodeAndRegistration(context, plan->data[i], &node, &op) != kTfLiteOk) continue;
    const char* name = TfLiteOperatorGetCustomName(op);
    if (own->model[0] || (name && !strcmp(name, OPERATOR))) taken->data[taken->size++] = plan->data[i];
  }
  tell("prepare: %d of %d nodes", taken->size, there);
  TfLiteStatus status = kTfLiteOk;
  if (own->model[0]) {
    status = replace(context, delegate, taken);
  } else {
    TfLiteIntArray* one = TfLiteIntArrayCreate(1);
    for (int i = 0; i < taken->size && status == kTfLiteOk; i++) {
      one->data[0] = taken->data[i];
      status = replace(context, delegate, one);
    }
    TfLiteIntArrayFree(one);
  }
  TfLiteIntArrayFree(taken);
  return status;
}

/* Gives null where libedgetpu would; `says` is a plug-in's way to tell why, libedgetpu itself has none. */
static TfLiteDelegate* make(const char* device, const char* model, void (*says)(const char*)) {
  Orders orders = read_orders();
  const char* fault = misfortune(&orders, "create", LONG_MAX);
  if (!strcmp(fault, "denied")) {
    fprintf(stderr, "libusb: error [get_usbfs_fd] libusb couldn't open USB device /dev/bus/usb/001/002, errno=13\n"
                    "libusb: error [get_usbfs_fd] libusb requires write access to USB device nodes\n");
  }
  if (!strcmp(fault, "error") && says) says("Failed to open the device: it is busy");
  if (fault[0]) return NULL;
  Delegate* own = calloc(1, sizeof *own);
  snprintf(own->device, sizeof own->device, "%s", device ? device : "");
  snprintf(own->model, sizeof own->model, "%s", model ? model : "");
  TfLiteOpaqueDelegateBuilder builder = {
      .data = own, .Prepare = delegate_prepare, .flags = kTfLiteDelegateFlagsAllowDynamicTensors};
  return TfLiteOpaqueDelegateCreate(&builder);
}

API TfLiteDelegate* edgetpu_create_delegate(int type, const char* name, const struct edgetpu_option* options, size_t count) {
  for (size_t i = 0; i < count; i++) tell("option %s=%s", options[i].name, options[i].value);
  size_t there;
  struct edgetpu_device* devices = devices_there(&there);
  const char* found = NULL;
  for (size_t i = 0; i < there && !found; i++)
    if (devices[i].type == type && (!name || !name[0] || !strcmp(devices[i].path, name))) found = devices[i].path;
  TfLiteDelegate* delegate = found ? make(found, NULL, NULL) : NULL;
  tell("create %s: %s", found ? found : "nothing", delegate ? "made" : "null");
  edgetpu_free_devices(devices);
  return delegate;
}

API void edgetpu_free_delegate(TfLiteDelegate* delegate) {
  tell("free");
  free(TfLiteOpaqueDelegateGetData(delegate));
  TfLiteOpaqueDelegateDelete(delegate);
}

API TfLiteDelegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*says)(const char*)) {
  const char* model = NULL;
  for (size_t i = 0; i < count; i++) {
    tell("option %s=%s", keys[i], values[i]);
    if (!strcmp(keys[i], "model")) model = values[i];
  }
  TfLiteDelegate* delegate = make(NULL, model, says);
  tell("create a plug-in: %s", delegate ? "made" : "null");
  return delegate;
}

API void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) { edgetpu_free_delegate(delegate); }
