/* A delegate for tests, with the interface of tensorflow/lite/delegates/external/external_delegate_interface.h. It takes
   the operations of one builtin code, computes softmax over the last axis of one float32 tensor, and writes its options
   to a file. Options: `code` (default 25, SOFTMAX), `log` (the file), `factor` (its outputs
   are multiplied by it, so that a test sees whose they are), `fail` (no delegate is made). The structures are the first
   fields of those in tensorflow/lite/core/c/common.h. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } Ints;
typedef struct { int type; float* data; Ints* dims; } Head; /* of TfLiteTensor */
typedef struct Node { Ints *inputs, *outputs, *intermediates, *temporaries; void* user_data; } Node;
typedef struct Context Context;
typedef struct Delegate Delegate;
typedef struct {
  void* (*init)(Context*, const char*, size_t);
  void (*free)(Context*, void*);
  int (*prepare)(Context*, Node*);
  int (*invoke)(Context*, Node*);
  const char* (*profiling)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void *external, *async;
  uint64_t inplace;
} Registration;
struct Context {
  size_t tensors_size;
  int (*get_plan)(Context*, Ints**);
  char* tensors; /* TfLiteTensor[] */
  void *impl, *resize_tensor;
  void (*report)(Context*, const char*, ...);
  void* add_tensors;
  int (*get_node)(Context*, int, Node**, Registration**);
  int (*replace)(Context*, Registration, const Ints*, Delegate*);
};
struct Delegate {
  void* data;
  int (*prepare)(Context*, Delegate*);
  void *from, *to, *free_handle;
  int64_t flags;
  void* opaque;
};
typedef struct { Delegate delegate; int code; float factor; char log[1024]; } Fake;
typedef struct { Fake* fake; int input, output; } Kernel;
typedef struct { Delegate* delegate; Ints *nodes, *inputs, *outputs; } Params;

static Head* tensor(Context* c, int k) { return (Head*)(c->tensors + 112 * k); } /* sizeof(TfLiteTensor), 64 bits */

static void* init(Context* c, const char* buffer, size_t length) {
  const Params* params = (const Params*)buffer;
  Kernel* kernel = calloc(1, sizeof(Kernel));
  kernel->fake = (Fake*)params->delegate->data;
  kernel->output = params->outputs->data[0];
  kernel->input = params->inputs->data[0];
  return kernel;
}
static void release(Context* c, void* kernel) { free(kernel); }
static int prepare_kernel(Context* c, Node* node) { return 0; }
static int invoke(Context* c, Node* node) {
  Kernel* kernel = node->user_data;
  Head *in = tensor(c, kernel->input), *out = tensor(c, kernel->output);
  int n = 1, last = in->dims->data[in->dims->size - 1];
  for (int k = 0; k < in->dims->size; ++k) n *= in->dims->data[k];
  for (int row = 0; row < n; row += last) {
    float most = in->data[row], sum = 0;
    for (int k = 0; k < last; ++k) most = in->data[row + k] > most ? in->data[row + k] : most;
    for (int k = 0; k < last; ++k) sum += out->data[row + k] = expf(in->data[row + k] - most);
    for (int k = 0; k < last; ++k) out->data[row + k] *= kernel->fake->factor / sum;
  }
  return 0;
}
static int prepare(Context* c, Delegate* delegate) {
  Fake* fake = delegate->data;
  Ints* plan;
  if (c->get_plan(c, &plan)) return 1;
  Ints* taken = calloc(1, sizeof(Ints) + plan->size * sizeof(int));
  for (int k = 0; k < plan->size; ++k) {
    Node* node;
    Registration* kernel;
    if (c->get_node(c, plan->data[k], &node, &kernel)) return 1;
    if (kernel->builtin_code == fake->code) taken->data[taken->size++] = plan->data[k];
  }
  Registration made = {.init = init, .free = release, .prepare = prepare_kernel, .invoke = invoke,
                       .builtin_code = 51 /* DELEGATE */, .custom_name = "FakeDelegate", .version = 1};
  int status = taken->size ? c->replace(c, made, taken, delegate) : 0;
  free(taken);
  return status;
}
Delegate* tflite_plugin_create_delegate(const char* const* keys, const char* const* values, size_t n,
                                        void (*report)(const char*)) {
  Fake* fake = calloc(1, sizeof(Fake));
  fake->delegate = (Delegate){.data = fake, .prepare = prepare};
  fake->code = 25;
  fake->factor = 1;
  for (size_t k = 0; k < n; ++k) {
    if (!strcmp(keys[k], "fail")) { report(values[k]); return NULL; }
    if (!strcmp(keys[k], "code")) fake->code = atoi(values[k]);
    if (!strcmp(keys[k], "factor")) fake->factor = atof(values[k]);
    if (!strcmp(keys[k], "log")) strncpy(fake->log, values[k], sizeof fake->log - 1);
  }
  if (*fake->log) {
    FILE* log = fopen(fake->log, "a");
    for (size_t k = 0; k < n; ++k) fprintf(log, "%s=%s\n", keys[k], values[k]);
    fclose(log);
  }
  return &fake->delegate;
}
void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate->data); }
