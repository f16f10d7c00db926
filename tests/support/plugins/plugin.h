/* The shape of a delegate plug-in that leaves every operator to the CPU: what TensorFlow Lite's external delegates export. The
 * file that includes this has `on_create`, which runs in the worker before the model is loaded. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* As in tensorflow/lite/core/c/common.h of version 2.17. */
typedef struct TfLiteDelegate {
  void *data;
  int (*Prepare)(void *context, struct TfLiteDelegate *delegate);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque;
} TfLiteDelegate;

static void on_create(size_t count, char **keys, char **values);

static const char *option(const char *wanted, size_t count, char **keys, char **values) {
  for (size_t at = 0; at < count; at++) {
    if (strcmp(keys[at], wanted) == 0) return values[at];
  }
  return "";
}

static int prepare(void *context, TfLiteDelegate *delegate) {
  (void)context;
  (void)delegate;
  return 0;
}

static TfLiteDelegate the_delegate = {.Prepare = prepare};

__attribute__((visibility("default"))) TfLiteDelegate *tflite_plugin_create_delegate(
    char **keys, char **values, size_t count, void (*says)(const char *)) {
  (void)says;
  on_create(count, keys, values);
  return &the_delegate;
}

__attribute__((visibility("default"))) void tflite_plugin_destroy_delegate(TfLiteDelegate *delegate) { (void)delegate; }
