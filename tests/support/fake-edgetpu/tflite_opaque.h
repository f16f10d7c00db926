/* The part of TensorFlow Lite's C interface for delegates that fake_edgetpu.c calls, as libtensorflowlite_c.so 2.17.1
 * exports it. Written by hand for pspnetd: names, types and values are TensorFlow Lite's. See native/tflite/README.md. */
#ifndef PSPNETD_TFLITE_OPAQUE_H_
#define PSPNETD_TFLITE_OPAQUE_H_

#include "tensorflow/lite/c/c_api.h"

typedef struct TfLiteOpaqueContext TfLiteOpaqueContext;
typedef struct TfLiteOpaqueNode TfLiteOpaqueNode;
typedef struct TfLiteOpaqueTensor TfLiteOpaqueTensor;
typedef struct TfLiteOperator TfLiteOperator;

typedef struct TfLiteIntArray {
  int size;
  int data[];
} TfLiteIntArray;

/* Buffer handles are not used here. */
typedef struct {
  void* data;
  TfLiteStatus (*Prepare)(TfLiteOpaqueContext* context, TfLiteDelegate* delegate, void* data);
  void (*handles[3])(void);
  int64_t flags;
} TfLiteOpaqueDelegateBuilder;

/* What a delegate's operator gets as its `buffer` when it is made. */
typedef struct {
  TfLiteDelegate* delegate;
  void* delegate_data;
  TfLiteIntArray* nodes_to_replace;
  TfLiteIntArray* input_tensors;
  TfLiteIntArray* output_tensors;
} TfLiteOpaqueDelegateParams;

/* Without the flag TensorFlow Lite lays out all tensors before it asks the delegate, and knows no compiled operator. */
enum { kTfLiteBuiltinDelegate = 51, kTfLiteDelegateFlagsAllowDynamicTensors = 1 };

TfLiteDelegate* TfLiteOpaqueDelegateCreate(const TfLiteOpaqueDelegateBuilder* builder);
void TfLiteOpaqueDelegateDelete(TfLiteDelegate* delegate);
void* TfLiteOpaqueDelegateGetData(const TfLiteDelegate* delegate);

TfLiteIntArray* TfLiteIntArrayCreate(int size);
void TfLiteIntArrayFree(TfLiteIntArray* array);

TfLiteStatus TfLiteOpaqueContextGetExecutionPlan(TfLiteOpaqueContext* context, TfLiteIntArray** plan);
TfLiteStatus TfLiteOpaqueContextGetNodeAndRegistration(TfLiteOpaqueContext* context, int index, TfLiteOpaqueNode** node,
                                                       TfLiteOperator** op);
/* TensorFlow Lite takes the operator over; array and delegate stay the caller's. */
TfLiteStatus TfLiteOpaqueContextReplaceNodeSubsetsWithDelegateKernels(TfLiteOpaqueContext* context, TfLiteOperator* op,
                                                                      const TfLiteIntArray* nodes, TfLiteDelegate* delegate);
void TfLiteOpaqueContextReportError(TfLiteOpaqueContext* context, const char* format, ...);

TfLiteOperator* TfLiteOperatorCreate(int builtin_code, const char* custom_name, int version);
const char* TfLiteOperatorGetCustomName(const TfLiteOperator* op);
void TfLiteOperatorSetInit(TfLiteOperator* op, void* (*init)(TfLiteOpaqueContext*, const char*, size_t));
void TfLiteOperatorSetFree(TfLiteOperator* op, void (*free)(TfLiteOpaqueContext*, void*));
void TfLiteOperatorSetPrepare(TfLiteOperator* op, TfLiteStatus (*prepare)(TfLiteOpaqueContext*, TfLiteOpaqueNode*));
void TfLiteOperatorSetInvoke(TfLiteOperator* op, TfLiteStatus (*invoke)(TfLiteOpaqueContext*, TfLiteOpaqueNode*));

void* TfLiteOpaqueNodeGetUserData(const TfLiteOpaqueNode* node);
TfLiteStatus TfLiteOpaqueNodeGetCustomInitialData(const TfLiteOpaqueNode* node, const void** data, int* size);
const TfLiteOpaqueTensor* TfLiteOpaqueNodeGetInput(TfLiteOpaqueContext* context, const TfLiteOpaqueNode* node, int index);
TfLiteOpaqueTensor* TfLiteOpaqueNodeGetOutput(TfLiteOpaqueContext* context, const TfLiteOpaqueNode* node, int index);
void* TfLiteOpaqueTensorData(const TfLiteOpaqueTensor* tensor);
size_t TfLiteOpaqueTensorByteSize(const TfLiteOpaqueTensor* tensor);

#endif
