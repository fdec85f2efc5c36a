/* A program in C99 that uses every function of libsoftmax: results, special rows, and each status; after an error
 * nothing may have been written. Nothing may be allocated either. */
#include <math.h>
#include <pthread.h>
#include <softmax.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

/* Counts what the library allocates, which must be nothing: glibc lets a program put itself in the way. */
static size_t allocations;
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);
void *malloc(size_t size) {
  allocations++;
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  allocations++;
  return __libc_calloc(count, size);
}
void *realloc(void *pointer, size_t size) {
  allocations++;
  return __libc_realloc(pointer, size);
}

#define CHECK(condition)                                                                   \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, smx_isa_name(), #condition); \
      failures++;                                                                          \
    }                                                                                      \
  } while (0)

/* The call returns this status and leaves the bytes of `guarded` as they are. */
#define REFUSED(status, guarded, call)                     \
  do {                                                     \
    unsigned char before[sizeof(guarded)];                 \
    memcpy(before, guarded, sizeof before);                \
    CHECK((call) == (status));                             \
    CHECK(memcmp(before, guarded, sizeof before) == 0);    \
  } while (0)

static int near(double a, double b, double tolerance) {
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
  return a == b || fabs(a - b) <= tolerance * fmax(1.0, fabs(b));
}

static double from_f32(float x) { return x; }
static float to_f32(double x) { return (float)x; }
static double from_f64(double x) { return x; }
static double to_f64(double x) { return x; }

static double from_bf16(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Exact: the tests use short numbers. */
static uint16_t to_bf16(double x) {
  float value = (float)x;
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)(bits >> 16 | (isnan(x) ? 0x40 : 0));
}

static double from_f16(uint16_t x) {
  int exponent = x >> 10 & 31, fraction = x & 1023;
  double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                : ldexp(fraction, -24);
  return x & 0x8000 ? -value : value;
}

/* Exact: the tests use short numbers. */
static uint16_t to_f16(double x) {
  int exponent, sign = signbit(x) ? 0x8000 : 0;
  if (isnan(x)) return 0x7e00;
  if (isinf(x)) return (uint16_t)(sign | 0x7c00);
  if (x == 0) return (uint16_t)sign;
  double fraction = frexp(fabs(x), &exponent);
  return (uint16_t)(sign | (exponent + 14) << 10 | ((int)(fraction * 2048) - 1024));
}

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#define T f32
#define X float
#define P float
#define TOLERANCE 1e-6
#include "consumer_typed.h"
#define T f64
#define X double
#define P double
#define TOLERANCE 1e-14
#include "consumer_typed.h"
#define T f16
#define X uint16_t
#define P float
#define TOLERANCE 6e-4
#include "consumer_typed.h"
#define T bf16
#define X uint16_t
#define P float
#define TOLERANCE 5e-3
#include "consumer_typed.h"

static void exp_of_slices(void) {
  enum { N = 1300 };
  float x[N], y[N], *none = NULL;
  double wide[N], wide_y[N];
  for (int i = 0; i < N; i++) wide[i] = x[i] = (float)(i - 650) / 8;
  CHECK(smx_exp_f32(x, y, N) == SMX_OK && smx_exp_f64(wide, wide_y, N) == SMX_OK);
  for (int i = 0; i < N; i++) CHECK(near(y[i], exp(x[i]), 1e-6) && near(wide_y[i], exp(wide[i]), 1e-14));
  float same[N];
  double wide_same[N];
  memcpy(same, x, sizeof x);
  memcpy(wide_same, wide, sizeof wide);
  CHECK(smx_exp_f32(same, same, N) == SMX_OK && memcmp(same, y, sizeof y) == 0);
  CHECK(smx_exp_f64(wide_same, wide_same, N) == SMX_OK && memcmp(wide_same, wide_y, sizeof wide_y) == 0);
  CHECK(smx_exp_f32(none, none, 0) == SMX_OK);
  REFUSED(SMX_ERR_NULL, y, smx_exp_f32(NULL, y, N));
  REFUSED(SMX_ERR_NULL, x, smx_exp_f32(x, NULL, N));
  REFUSED(SMX_ERR_OVERLAP, y, smx_exp_f32(y, y + 1, N - 1));
  REFUSED(SMX_ERR_SHAPE, y, smx_exp_f32(x, y, SIZE_MAX));
  REFUSED(SMX_ERR_SHAPE, wide_y, smx_exp_f64(wide, wide_y, SIZE_MAX / 8));
}

static void row_primitives(void) {
  float x[5] = {1, 2, 3, -INFINITY, 2}, y[5], same[5];
  memcpy(same, x, sizeof x);
  CHECK(smx_row_max_f32(x, 5) == 3 && smx_row_max_f32(NULL, 0) == -INFINITY);
  double sum = smx_row_exp_sub_max_sum_f32(x, y, 5, 3);
  CHECK(near(sum, exp(-2) + 2 * exp(-1) + 1, 1e-6));
  CHECK(y[2] == 1 && y[3] == 0 && near(y[1], exp(-1), 1e-6));
  CHECK(smx_row_exp_sub_max_sum_f32(x, NULL, 5, 3) == sum);
  CHECK(smx_row_exp_sub_max_sum_f32(same, same, 5, 3) == sum && memcmp(same, y, sizeof y) == 0);
  CHECK(smx_row_exp_sub_max_sum_f32(NULL, NULL, 0, 3) == 0);
  smx_row_scale_f32(y, 5, 4);
  CHECK(y[2] == 4);
  smx_row_scale_f32(NULL, 5, 4);
  CHECK(isnan(smx_row_max_f32(NULL, 5)) && isnan(smx_row_max_f32(x, SIZE_MAX)));
  unsigned char before[sizeof y];
  memcpy(before, y, sizeof y);
  CHECK(isnan(smx_row_exp_sub_max_sum_f32(y, y + 1, 4, 3)) && isnan(smx_row_exp_sub_max_sum_f32(NULL, y, 5, 3)));
  CHECK(memcmp(before, y, sizeof y) == 0);
}

static void online(void) {
  enum { N = 700 };
  float x[N], y[N], whole[N];
  smx_online_f32 left, right, empty;
  for (int i = 0; i < N; i++) x[i] = (float)(i * 37 % 101) / 4 - 12;
  smx_online_init_f32(&left);
  smx_online_init_f32(&right);
  smx_online_init_f32(&empty);
  CHECK(smx_online_logsumexp_f32(&empty) == -INFINITY);
  CHECK(smx_online_update_f32(&left, x, 100) == SMX_OK && smx_online_update_f32(&left, x + 100, 250) == SMX_OK);
  CHECK(smx_online_update_f32(&right, x + 350, N - 350) == SMX_OK && smx_online_update_f32(&right, NULL, 0) == SMX_OK);
  smx_online_merge_f32(&left, &right);
  smx_online_merge_f32(&left, &empty);
  CHECK(smx_softmax_f32(x, whole, 1, N, N, N) == SMX_OK);
  CHECK(smx_online_finish_f32(&left, x, y, N) == SMX_OK);
  for (int i = 0; i < N; i++) CHECK(near(y[i], whole[i], 1e-6 * whole[i]));
  float lse;
  CHECK(smx_logsumexp_f32(x, &lse, 1, N, N) == SMX_OK && near(smx_online_logsumexp_f32(&left), lse, 1e-6));
  float same[N];
  memcpy(same, x, sizeof x);
  CHECK(smx_online_finish_f32(&left, same, same, N) == SMX_OK && memcmp(same, y, sizeof y) == 0);
  REFUSED(SMX_ERR_NULL, y, smx_online_finish_f32(NULL, x, y, N));
  REFUSED(SMX_ERR_NULL, y, smx_online_finish_f32(&left, NULL, y, N));
  REFUSED(SMX_ERR_NULL, y, smx_online_finish_f32(&left, x, NULL, N));
  REFUSED(SMX_ERR_OVERLAP, y, smx_online_finish_f32(&left, y, y + 1, N - 1));
  REFUSED(SMX_ERR_SHAPE, y, smx_online_finish_f32(&left, x, y, SIZE_MAX));
  CHECK(smx_online_update_f32(NULL, x, N) == SMX_ERR_NULL);
  smx_online_f32 own[1] = {left};
  REFUSED(SMX_ERR_OVERLAP, own, smx_online_update_f32(own, (const float *)(const void *)own, 1));
  smx_online_f32 before = left;
  CHECK(smx_online_update_f32(&left, NULL, N) == SMX_ERR_NULL);
  CHECK(smx_online_update_f32(&left, x, SIZE_MAX) == SMX_ERR_SHAPE);
  smx_online_merge_f32(&left, NULL);
  smx_online_merge_f32(NULL, &left);
  smx_online_init_f32(NULL);
  CHECK(left.sum == before.sum && left.max == before.max && left.shift == before.shift);
  CHECK(isnan(smx_online_logsumexp_f32(NULL)));
  x[3] = NAN;
  CHECK(smx_online_update_f32(&left, x, N) == SMX_OK && isnan(smx_online_logsumexp_f32(&left)));
  /* Whatever bytes a state holds, nothing crashes. */
  memset(&left, 0xff, sizeof left);
  memset(&right, 0x7e, sizeof right);
  smx_online_merge_f32(&right, &left);
  CHECK(smx_online_update_f32(&right, whole, N) == SMX_OK && smx_online_finish_f32(&right, whole, y, N) == SMX_OK);
}

/* Attention tile by tile, and in two parts that are merged, against the probabilities of the whole row. */
static void attention(void) {
  enum { N = 300, TILE = 64, HALF = 150 };
  float x[N], v[N], p[N], e[TILE], factor;
  for (int i = 0; i < N; i++) x[i] = (float)i / 4 + (float)(i * 37 % 101) / 8, v[i] = (float)(i % 7) - 3;
  CHECK(smx_softmax_f32(x, p, 1, N, N, N) == SMX_OK);
  double want = 0;
  for (int i = 0; i < N; i++) want += (double)p[i] * v[i];
  smx_online_f32 parts[2];
  double acc[2] = {0, 0}, total[2] = {0, 0};
  for (int part = 0; part < 2; part++) {
    smx_online_init_f32(&parts[part]);
    for (int at = part * HALF; at < (part + 1) * HALF; at += TILE) {
      int n = (part + 1) * HALF - at < TILE ? (part + 1) * HALF - at : TILE;
      float same[TILE], in_place;
      smx_online_f32 twin = parts[part];
      memcpy(same, x + at, sizeof(float) * (size_t)n);
      CHECK(smx_online_update_into_f32(&parts[part], x + at, e, (size_t)n, &factor) == SMX_OK);
      CHECK(smx_online_update_into_f32(&twin, same, same, (size_t)n, &in_place) == SMX_OK);
      CHECK(memcmp(same, e, sizeof(float) * (size_t)n) == 0 && in_place == factor && twin.sum == parts[part].sum);
      acc[part] *= factor, total[part] *= factor;
      for (int i = 0; i < n; i++) acc[part] += (double)e[i] * v[at + i], total[part] += e[i];
    }
  }
  smx_online_f32 all = parts[0];
  smx_online_merge_f32(&all, &parts[1]);
  double num = 0, den = 0;
  for (int part = 0; part < 2; part++) {
    float scale = smx_online_rescale_factor_f32(&all, &parts[part]);
    num += scale * acc[part], den += scale * total[part];
  }
  CHECK(near(num / den, want, 1e-6));
  CHECK(isnan(smx_online_rescale_factor_f32(NULL, &all)) && isnan(smx_online_rescale_factor_f32(&all, NULL)));
  REFUSED(SMX_ERR_NULL, e, smx_online_update_into_f32(NULL, x, e, 4, &factor));
  REFUSED(SMX_ERR_NULL, e, smx_online_update_into_f32(&all, NULL, e, 4, &factor));
  REFUSED(SMX_ERR_NULL, e, smx_online_update_into_f32(&all, x, NULL, 4, &factor));
  REFUSED(SMX_ERR_NULL, e, smx_online_update_into_f32(&all, x, e, 4, NULL));
  REFUSED(SMX_ERR_OVERLAP, e, smx_online_update_into_f32(&all, e, e + 1, 4, &factor));
  REFUSED(SMX_ERR_OVERLAP, e, smx_online_update_into_f32(&all, x, e, 4, e + 2));
  REFUSED(SMX_ERR_SHAPE, e, smx_online_update_into_f32(&all, x, e, SIZE_MAX, &factor));
}

/* A pool: two threads that take every other task. */
struct share {
  size_t first, tasks;
  smx_task task;
  void *data;
};

static void *work(void *argument) {
  struct share *share = argument;
  for (size_t i = share->first; i < share->tasks; i += 2) share->task(share->data, i);
  return NULL;
}

static void two_threads(void *context, size_t tasks, smx_task task, void *data) {
  struct share shares[2] = {{0, tasks, task, data}, {1, tasks, task, data}};
  pthread_t threads[2];
  *(size_t *)context = tasks;
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, work, &shares[i]) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void one_task_missing(void *context, size_t tasks, smx_task task, void *data) {
  (void)context;
  for (size_t i = 1; i < tasks; i++) task(data, i);
}

static void one_task_twice(void *context, size_t tasks, smx_task task, void *data) {
  (void)context;
  for (size_t i = 1; i < tasks; i++) task(data, i);
  task(data, 1);
}

static void tasks_that_do_not_exist(void *context, size_t tasks, smx_task task, void *data) {
  (void)context;
  task(data, SIZE_MAX);
  for (size_t i = tasks + 3; i-- > 0;) task(data, i);
}

static void parallel(void) {
  enum { ROWS = 90, COLS = 1000, STRIDE = 1004 };
  float *x = malloc(sizeof(float) * ROWS * STRIDE), *y = malloc(sizeof(float) * ROWS * STRIDE);
  float *expected = malloc(sizeof(float) * ROWS * STRIDE);
  if (!x || !y || !expected) abort();
  for (int i = 0; i < ROWS * STRIDE; i++) x[i] = (float)(i * 29 % 997) / 64, y[i] = expected[i] = -7;
  CHECK(smx_softmax_f32(x, expected, ROWS, COLS, STRIDE, STRIDE) == SMX_OK);
  size_t tasks = 0, before = sizeof(float) * ROWS * STRIDE;
  CHECK(smx_softmax_parallel_f32(x, y, ROWS, COLS, STRIDE, STRIDE, two_threads, &tasks) == SMX_OK);
  CHECK(tasks > 1 && memcmp(y, expected, before) == 0);
  CHECK(smx_softmax_parallel_f32(x, y, ROWS, COLS, STRIDE, STRIDE, tasks_that_do_not_exist, NULL) == SMX_OK);
  CHECK(memcmp(y, expected, before) == 0);
  CHECK(smx_softmax_parallel_f32(x, y, ROWS, COLS, STRIDE, STRIDE, one_task_missing, NULL) == SMX_ERR_PARAM);
  CHECK(smx_softmax_parallel_f32(x, y, ROWS, COLS, STRIDE, STRIDE, one_task_twice, NULL) == SMX_ERR_PARAM);
  CHECK(smx_softmax_parallel_f32(NULL, NULL, 0, COLS, 0, 0, two_threads, &tasks) == SMX_OK);
  float small[8] = {0};
  REFUSED(SMX_ERR_NULL, small, smx_softmax_parallel_f32(x, small, 2, 4, 4, 4, NULL, NULL));
  REFUSED(SMX_ERR_NULL, small, smx_softmax_parallel_f32(NULL, small, 2, 4, 4, 4, two_threads, &tasks));
  REFUSED(SMX_ERR_NULL, small, smx_softmax_parallel_f32(x, NULL, 2, 4, 4, 4, two_threads, &tasks));
  REFUSED(SMX_ERR_SHAPE, small, smx_softmax_parallel_f32(x, small, 2, 4, 3, 4, two_threads, &tasks));
  REFUSED(SMX_ERR_SHAPE, small, smx_softmax_parallel_f32(x, small, SIZE_MAX, 4, 4, 4, two_threads, &tasks));
  REFUSED(SMX_ERR_OVERLAP, small, smx_softmax_parallel_f32(small, small + 1, 1, 4, 4, 4, two_threads, &tasks));
  CHECK(smx_softmax_parallel_f32(x, x, ROWS, COLS, STRIDE, STRIDE, two_threads, &tasks) == SMX_OK);
  for (int r = 0; r < ROWS; r++) CHECK(memcmp(x + r * STRIDE, expected + r * STRIDE, sizeof(float) * COLS) == 0);
  free(x);
  free(y);
  free(expected);
}

static void messages(void) {
  for (int status = SMX_OK; status <= SMX_ERR_ISA; status++) {
    CHECK(strlen(smx_status_message(status)) > 3);
    for (int other = SMX_OK; other < status; other++)
      CHECK(strcmp(smx_status_message(status), smx_status_message(other)) != 0);
  }
  CHECK(strcmp(smx_status_message(-1), smx_status_message(1000)) == 0);
  CHECK(strcmp(smx_version(), VERSION) == 0);
}

static void everything(void) {
  size_t before = allocations;
  typed_f32();
  typed_f64();
  typed_f16();
  typed_bf16();
  exp_of_slices();
  row_primitives();
  online();
  attention();
  CHECK(allocations == before);
  parallel(); /* this one allocates: the program does, for its arrays and threads */
}

int main(void) {
  static const char *const names[] = {"scalar", "portable", "neon", "avx2", "avx512"};
  float x[40], first[40], y[40];
  char best[16];
  messages();
  strcpy(best, smx_isa_name());
  for (int i = 0; i < 40; i++) x[i] = (float)(i * 7 % 13) / 3;
  CHECK(smx_set_max_isa("scalar") == SMX_OK && smx_softmax_f32(x, first, 1, 40, 40, 40) == SMX_OK);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int status = smx_set_max_isa(names[i]);
    if (status != SMX_OK) {
      CHECK(status == SMX_ERR_ISA && i >= 2);
      continue;
    }
    CHECK(strcmp(smx_isa_name(), names[i]) == 0);
    CHECK(smx_softmax_f32(x, y, 1, 40, 40, 40) == SMX_OK);
    CHECK(i == 1 || memcmp(y, first, sizeof y) == 0);
    everything();
    printf("C: %s\n", names[i]);
  }
  CHECK(smx_set_max_isa(best) == SMX_OK && strcmp(smx_isa_name(), best) == 0);
  CHECK(smx_set_max_isa("AVX2") == SMX_ERR_ISA && smx_set_max_isa("") == SMX_ERR_ISA);
  CHECK(smx_set_max_isa("\xff") == SMX_ERR_ISA);
  CHECK(smx_set_max_isa(NULL) == SMX_ERR_NULL && strcmp(smx_isa_name(), best) == 0);
  if (failures) fprintf(stderr, "%d checks failed\n", failures);
  return failures != 0;
}
