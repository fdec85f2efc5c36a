/* softmax.h: softmax for CPUs. One numerical contract, the same bits on AVX-512, AVX2, NEON and the scalar reference.
 *
 * Shapes. Sizes and strides count elements, unless a comment says bytes. Rows lie `stride` elements apart, from row
 * start to row start, stride >= cols; what lies between the end of a row and the start of the next is neither read nor
 * written. Along an axis the tensor is contiguous, outer x len x inner: element (o, i, k) stands at
 * (o*len + i)*inner + k, and row (o, k) runs over all i. A function of rows treats each row alone: neighbours, strides
 * and threads change no bit of it.
 *
 * In place. x == y, with the same stride, works in place and gives the same bits. Any other overlap of an output with
 * another argument is SMX_ERR_OVERLAP; what counts is the memory from the first element to the last, gaps included.
 *
 * Nothing to do. rows == 0 or cols == 0 (an axis: any extent 0) is SMX_OK and writes nothing, whatever the strides, and
 * pointers to no elements may be NULL. Exceptions: logsumexp writes -inf for each row without columns, top_k needs
 * k <= cols, cross_entropy writes a reduced loss; structs of parameters are checked all the same.
 *
 * Types. f16 (IEEE binary16) and bf16 are passed as their bits in uint16_t; their rows are computed in float, and each
 * result is rounded once. Labels are int64_t, indices size_t. There are no units: logits are natural logarithms of
 * odds, losses and logsumexp are in nats.
 *
 * Errors. A function that returns int returns one of enum smx_status. Everything is decided before the first write
 * (smx_softmax_parallel_f32 says what is not): after an error nothing was written.
 *
 *   SMX_ERR_NULL     a pointer to elements, or to a struct, is NULL or not aligned to its type
 *   SMX_ERR_SHAPE    stride < cols; a size overflows, or exceeds the address space; k > cols; offsets decrease;
 *                    a length > cols
 *   SMX_ERR_OVERLAP  an output overlaps another argument, other than in place
 *   SMX_ERR_PARAM    a parameter, label, enum value or struct size that is unknown or outside its range
 *   SMX_ERR_ISA      smx_set_max_isa: no such instruction set, or this CPU lacks it
 *
 * No function allocates, spawns a thread, or unwinds. Only what looks up the environment may allocate: SOFTMAX_MAX_ISA is
 * looked up by the first call that computes, SOFTMAX_L1_BYTES, SOFTMAX_L2_BYTES and SOFTMAX_L3_BYTES by the first one
 * that the size of a cache matters to. Functions may be called from any threads at the same time, as long as none writes
 * what another reads or writes; what a call is said to write is, here too, the memory from the first element to the last,
 * gaps included.
 *
 * Accuracy. ULP of the result, for rows of up to 2^24 elements; the README has the whole contract.
 *
 *   softmax                 f32, f64: 8 (6.15 found); f16, bf16: 0.51
 *   log_softmax, logsumexp  4 of max(1, |result|); log_softmax is never positive
 *   exp                     1
 *
 * On "portable" (CPUs without a fused multiply-add) 16 instead of 8, 3 instead of 1. Results below 2^-126 (f64:
 * 2^-1022) are 0, except for f16, which keeps its subnormals. All bits are the same on "avx512", "avx2", "neon" and
 * "scalar".
 *
 * Special rows. One finite entry, or one beside which all others vanish, has a probability of exactly 1.
 *
 *   the row has       softmax                     log_softmax                 logsumexp  argmax
 *   some -inf         0 there, rest as if absent  -inf there, rest the same   the same   the same
 *   any NaN           the whole row NaN           the whole row NaN           NaN        the first NaN
 *   any +inf, no NaN  the whole row NaN           the whole row NaN           +inf       the first +inf
 *   nothing but -inf  the whole row NaN           the whole row NaN           -inf       0
 */
#ifndef SOFTMAX_H
#define SOFTMAX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

enum smx_status {
  SMX_OK = 0,
  SMX_ERR_NULL = 1,
  SMX_ERR_SHAPE = 2,
  SMX_ERR_OVERLAP = 3,
  SMX_ERR_PARAM = 4,
  SMX_ERR_ISA = 5
};
/* What a row gives in which nothing is visible, or nothing but -inf: 0 (log_softmax: -inf), or NaN. */
enum smx_fully_masked { SMX_FULLY_MASKED_ZERO = 0, SMX_FULLY_MASKED_NAN = 1 };
enum smx_reduction { SMX_REDUCTION_NONE = 0, SMX_REDUCTION_MEAN = 1, SMX_REDUCTION_SUM = 2 };

/* What the masked functions do to a row before its softmax, in this order: z = softcap(scale*x) + alibi_slope*additive,
 * then the entries are masked that causal, window, lengths or keep exclude, or where `additive` is -inf. A masked entry
 * is as if absent, whatever x holds there, NaN included.
 *
 * size = sizeof(struct smx_mask): it tells the library which version of the struct it reads; any other is
 * SMX_ERR_PARAM. A zeroed struct (with size set, scale = 1) masks nothing. Row r of a call is query position
 * (r % queries). scale and alibi_slope must be finite, softcap at most
 * a quarter of FLT_MAX (DBL_MAX), scale/softcap at most half of it. */
typedef struct smx_mask {
  size_t size;
  float scale;                 /* z = scale*x */
  float softcap;               /* > 0: z = softcap*tanh(z/softcap); 0: none; < 0 is SMX_ERR_PARAM */
  float alibi_slope;           /* multiplies `additive`; 0 means 1 */
  const float *additive;       /* NULL, or one value per entry; row stride below (0: one row for all) */
  size_t additive_stride;      /* 0, or >= cols */
  const uint8_t *keep;         /* NULL, or one byte per entry, nonzero = keep; row stride below (0: one row for all) */
  size_t keep_stride;          /* 0, or >= cols */
  bool causal;                 /* query q sees columns <= q + causal_offset */
  ptrdiff_t causal_offset;     /* keys that precede the first query, such as those of a cache; may be negative */
  size_t queries;              /* rows per sequence for causal and window; 0: all rows */
  size_t window;               /* 0: none; else query q sees only the last `window` columns of what it may see */
  const size_t *lengths;       /* NULL, or valid columns of each row, <= cols (else SMX_ERR_SHAPE) */
  const float *sinks;          /* NULL, or one extra logit per row, which takes its share and is not written */
  int fully_masked;            /* enum smx_fully_masked */
} smx_mask;

typedef struct smx_cross_entropy_params {   /* PyTorch's rules */
  size_t size;                 /* sizeof(struct smx_cross_entropy_params); any other is SMX_ERR_PARAM */
  float label_smoothing;       /* [0, 1) */
  int64_t ignore_index;        /* rows with this label give loss 0 and gradient 0 */
  const float *class_weights;  /* NULL, or cols values */
  int reduction;               /* enum smx_reduction; NONE writes rows losses, else one; MEAN of nothing is NaN */
} smx_cross_entropy_params;

/* For T in f32, f64, f16, bf16: SMX_T is float, double, uint16_t, uint16_t; SMX_P (probabilities, losses) is float,
 * double, float, float. `->` is what is written; beyond the errors of each, all return SMX_ERR_NULL, SMX_ERR_SHAPE for
 * strides and overflow, and SMX_ERR_OVERLAP.
 *
 * smx_softmax_T, smx_log_softmax_T
 *     x: rows x cols at x_stride -> y: rows x cols at y_stride. y_i = e^(x_i) / sum_j e^(x_j), or its logarithm.
 *
 * smx_logsumexp_T
 *     x: rows x cols at x_stride -> out: rows values, ln sum_j e^(x_j) of each. Never in place.
 *
 * smx_softmax_axis_T, smx_log_softmax_axis_T
 *     x: outer x len x inner -> y: the same shape. In place if x == y.
 *
 * smx_logsumexp_axis_T
 *     x: outer x len x inner -> out: outer x inner values, that of row (o, k) at o*inner + k. Never in place.
 *
 * smx_argmax_T
 *     x: rows x cols at x_stride -> index: rows column numbers: the lowest of a maximum, or the first NaN.
 *
 * smx_top_k_T
 *     x: rows x cols at x_stride -> index, prob: rows x k, contiguous: the k most probable columns of each row, best
 *     first, ties by lowest column, with the probabilities that smx_softmax_T gives (f16, bf16: before rounding).
 *     k > cols is SMX_ERR_SHAPE, k == 0 writes nothing. A row with NaN: its first NaN first, all probabilities NaN.
 *
 * smx_softmax_ragged_T
 *     Row r is elements offsets[r] to offsets[r + 1] - 1 of x -> the same elements of y. offsets: rows + 1 entries; one
 *     that decreases is SMX_ERR_SHAPE. The first need not be 0: what precedes it is not touched, but belongs to x and y,
 *     which have offsets[rows] elements each. An empty row writes nothing. In place if x == y.
 *
 * smx_masked_softmax_T, smx_masked_log_softmax_T
 *     x: rows x cols at x_stride -> y: rows x cols at y_stride, under *mask. Masked entries give 0 (log_softmax: -inf).
 *     NaN or +inf where it is not masked: the whole row NaN. What *mask points to must not overlap y.
 *
 * smx_softmax_backward_T
 *     y (what softmax gave), dy: rows x cols -> dx: rows x cols, dx_i = y_i*(dy_i - sum_j y_j*dy_j). dx == dy, with the
 *     same stride, works in place; dx must not overlap y. NaN or an infinity in y or dy: the whole row NaN.
 *
 * smx_log_softmax_backward_T
 *     y (what log_softmax gave), dy: rows x cols -> dx: rows x cols, dx_i = dy_i - e^(y_i)*sum_j dy_j; the same in
 *     place. NaN or an infinity in dy: the whole row NaN; NaN in y: its own place.
 *
 * smx_cross_entropy_T
 *     x: rows x cols logits at x_stride, labels: rows, each in [0, cols) or ignore_index (else SMX_ERR_PARAM) -> loss:
 *     rows values under SMX_REDUCTION_NONE, else one; dx: rows x cols at dx_stride, the gradient of the loss, or NULL
 *     for none (dx_stride is then not looked at). dx must not overlap x. With t the label, w the class weights (or 1),
 *     s = label_smoothing and l_c = ln sum_j e^(x_j) - x_c, a row's loss is
 *     (1 - s)*w_t*l_t + s/cols * sum_c w_c*l_c; MEAN divides the sum by that of the w_t.
 *     -inf at the label: loss +inf. NaN, +inf, or nothing but -inf in a row that counts: loss and gradient NaN.
 *     With rows == 0 or cols == 0 a reduced loss is that of nothing: SUM 0, MEAN NaN. */
#define SMX_DECLARE(T, SMX_T, SMX_P)                                                                                   \
  int smx_softmax_##T(const SMX_T *x, SMX_T *y, size_t rows, size_t cols, size_t x_stride, size_t y_stride);           \
  int smx_log_softmax_##T(const SMX_T *x, SMX_T *y, size_t rows, size_t cols, size_t x_stride, size_t y_stride);       \
  int smx_logsumexp_##T(const SMX_T *x, SMX_T *out, size_t rows, size_t cols, size_t x_stride);                        \
  int smx_softmax_axis_##T(const SMX_T *x, SMX_T *y, size_t outer, size_t len, size_t inner);                          \
  int smx_log_softmax_axis_##T(const SMX_T *x, SMX_T *y, size_t outer, size_t len, size_t inner);                      \
  int smx_logsumexp_axis_##T(const SMX_T *x, SMX_T *out, size_t outer, size_t len, size_t inner);                      \
  int smx_argmax_##T(const SMX_T *x, size_t *index, size_t rows, size_t cols, size_t x_stride);                        \
  int smx_top_k_##T(const SMX_T *x, size_t rows, size_t cols, size_t x_stride, size_t k, size_t *index, SMX_P *prob);  \
  int smx_softmax_ragged_##T(const SMX_T *x, SMX_T *y, const size_t *offsets, size_t rows);                            \
  int smx_masked_softmax_##T(const SMX_T *x, SMX_T *y, size_t rows, size_t cols, size_t x_stride, size_t y_stride,     \
                             const smx_mask *mask);                                                                    \
  int smx_masked_log_softmax_##T(const SMX_T *x, SMX_T *y, size_t rows, size_t cols, size_t x_stride, size_t y_stride, \
                                 const smx_mask *mask);                                                                \
  int smx_softmax_backward_##T(const SMX_T *y, const SMX_T *dy, SMX_T *dx, size_t rows, size_t cols, size_t y_stride,  \
                               size_t dy_stride, size_t dx_stride);                                                    \
  int smx_log_softmax_backward_##T(const SMX_T *y, const SMX_T *dy, SMX_T *dx, size_t rows, size_t cols, size_t y_stride,   \
                                   size_t dy_stride, size_t dx_stride);                                                \
  int smx_cross_entropy_##T(const SMX_T *x, const int64_t *labels, SMX_P *loss, SMX_T *dx /* or NULL */, size_t rows,  \
                            size_t cols, size_t x_stride, size_t dx_stride, const smx_cross_entropy_params *params);
SMX_DECLARE(f32, float, float)
SMX_DECLARE(f64, double, double)
SMX_DECLARE(f16, uint16_t, float)
SMX_DECLARE(bf16, uint16_t, float)
#undef SMX_DECLARE

/* x: n elements -> y: n elements, e^x of each; x == y works in place. Overflow gives +inf, NaN stays NaN, n == 0 is
 * SMX_OK. */
int smx_exp_f32(const float *x, float *y, size_t n);
int smx_exp_f64(const double *x, double *y, size_t n);

/* Row primitives for engines with their own loops: values, not status; n = 0 gives -inf and 0. x == y allowed. Where an
 * argument is wrong (NULL, overflow, other overlap) the value is NaN and nothing is written. */

/* The largest of n elements, exactly: NaN if there is a NaN, +0 where it is a zero. */
float smx_row_max_f32(const float *x, size_t n);
/* y_i = e^(x_i - max), at most 1.5 + |x_i - max| ULP from exact ("portable": 3.5), and returns their sum; y may be NULL.
 * NaN where x_i or max is, or both are the same infinity, and then the sum too. */
double smx_row_exp_sub_max_sum_f32(const float *x, float *y /* or NULL */, size_t n, float max);
/* y_i = y_i*s, rounded once. */
void smx_row_scale_f32(float *y, size_t n, float s);

/* Streaming state of one row; opaque contents. Tiles of a row are added in any number of states, which are merged in any
 * order: flash attention, split-K decoding, a vocabulary on several machines. The state may be copied and sent as its
 * bytes. Accuracy as softmax; the bits depend on how the row was cut into tiles. */
typedef struct smx_online_f32 { double sum; float max; int32_t shift; } smx_online_f32;
/* The state of nothing. Does nothing if state is NULL. */
void smx_online_init_f32(smx_online_f32 *state);
/* Adds n elements. NaN and +inf stay in the state. SMX_ERR_NULL, SMX_ERR_SHAPE. */
int smx_online_update_f32(smx_online_f32 *state, const float *x, size_t n);
/* Adds n elements and stores their weights e_i = e^(x_i)*2^-shift, the largest of a row in [0.7, 1.42] and 0 for those below
 * 2^-100 (e^(x_i - max) where max is 2^30 and more in magnitude); *factor is the
 * power of two by which what was summed with earlier weights must be multiplied first (0 for the first tile):
 *     acc = factor*acc + sum e_i*v_i,  total = factor*total + sum e_i,  and acc/total is attention.
 * x == e works in place. After NaN or +inf weights and factor are NaN. SMX_ERR_NULL, SMX_ERR_SHAPE, SMX_ERR_OVERLAP. */
int smx_online_update_into_f32(smx_online_f32 *state, const float *x, float *e, size_t n, float *factor);
/* That factor since the state was *before, for what is summed beside a merge: it then holds for what each of the two
 * states had summed. NaN if either is NULL, after NaN and after +inf. */
float smx_online_rescale_factor_f32(const smx_online_f32 *state, const smx_online_f32 *before);
/* Adds what *other has seen, which may be nothing. Does nothing if either is NULL. */
void smx_online_merge_f32(smx_online_f32 *state, const smx_online_f32 *other);
/* y_i = e^(x_i) / sum e^x over all that the state has seen: n elements of the row, all or some; x == y works in place.
 * All NaN after NaN or +inf, and where nothing but -inf was seen. SMX_ERR_NULL, SMX_ERR_SHAPE, SMX_ERR_OVERLAP. */
int smx_online_finish_f32(const smx_online_f32 *state, const float *x, float *y, size_t n);
/* ln sum e^x: -inf of nothing, +inf after +inf, NaN after NaN or if state is NULL. */
float smx_online_logsumexp_f32(const smx_online_f32 *state);

/* Rows [begin, end) by the caller's own threads: parallel_for(context, tasks, task, data) must call task(data, i) once
 * for each i < tasks, in any order, on any thread. It must return after the last of them has returned, and not throw: an
 * exception that leaves it ends the program. The bits are those of smx_softmax_f32 whatever the threads; the errors too,
 * and SMX_ERR_NULL if parallel_for is NULL. If it did not call each task once, SMX_ERR_PARAM is returned, and y is wrong.
 * A task is some whole rows, of 32768 elements together at least but for the last; parallel_for is not called where there
 * is no element. */
typedef void (*smx_task)(void *data, size_t i);
typedef void (*smx_parallel_for)(void *context, size_t tasks, smx_task task, void *data);
int smx_softmax_parallel_f32(const float *x, float *y, size_t rows, size_t cols, size_t x_stride, size_t y_stride,
                             smx_parallel_for parallel_for, void *context);

/* What a status means: one line of English that is never freed, for any int. */
const char *smx_status_message(int status);
/* The instruction set that runs: "avx512", "avx2", "neon", "portable", "scalar". */
const char *smx_isa_name(void);
/* Caps the instruction set of the process from now on. SMX_ERR_ISA if the name is unknown or the CPU lacks it, and
 * nothing changes then; "scalar" and "portable" always work; the highest is restored by its own name. SMX_ERR_NULL. */
int smx_set_max_isa(const char *name);
/* The version of the library, such as "0.1.0". */
const char *smx_version(void);
#ifdef __cplusplus
}
#endif
#endif
