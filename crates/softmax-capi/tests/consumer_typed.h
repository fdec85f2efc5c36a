/* The checks of one element type. Before: T its suffix, X the element, P the type of probabilities, TOLERANCE. */
#define SMX(name) JOIN(smx_##name##_, T)
#define TO(x) JOIN(to_, T)(x)
#define FROM(x) JOIN(from_, T)(x)
#define TYPED(name) JOIN(name##_, T)

enum { TYPED(ROWS) = 3, TYPED(COLS) = 37, TYPED(STRIDE) = 40 };
#define ROWS TYPED(ROWS)
#define COLS TYPED(COLS)
#define STRIDE TYPED(STRIDE)
#define GAP 0x5a /* every byte between rows */

struct TYPED(rows) {
  X e[ROWS * STRIDE];
};

static struct TYPED(rows) TYPED(logits)(void) {
  struct TYPED(rows) x;
  memset(&x, GAP, sizeof x);
  for (int r = 0; r < ROWS; r++)
    for (int c = 0; c < COLS; c++) x.e[r * STRIDE + c] = TO((double)((r * 31 + c * 11) % 23) / 4 - 2);
  return x;
}

static struct TYPED(rows) TYPED(blank)(void) {
  struct TYPED(rows) y;
  memset(&y, GAP, sizeof y);
  return y;
}

static int TYPED(gaps_untouched)(const struct TYPED(rows) *y) {
  struct TYPED(rows) blank = TYPED(blank)();
  for (int r = 0; r < ROWS; r++)
    if (memcmp(y->e + r * STRIDE + COLS, blank.e, sizeof(X) * (STRIDE - COLS)) != 0) return 0;
  return 1;
}

/* ln sum e^x of a row whose elements are `step` apart. */
static double TYPED(lse)(const X *x, int n, int step) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += exp(FROM(x[i * step]));
  return log(sum);
}

static void TYPED(rows_of)(void) {
  struct TYPED(rows) x = TYPED(logits)(), y = TYPED(blank)(), l = y, same = x;
  X lse[ROWS];
  size_t best[ROWS], index[ROWS * 4];
  P prob[ROWS * 4];
  CHECK(SMX(softmax)(x.e, y.e, ROWS, COLS, STRIDE, STRIDE) == SMX_OK && TYPED(gaps_untouched)(&y));
  CHECK(SMX(log_softmax)(x.e, l.e, ROWS, COLS, STRIDE, STRIDE) == SMX_OK && TYPED(gaps_untouched)(&l));
  CHECK(SMX(logsumexp)(x.e, lse, ROWS, COLS, STRIDE) == SMX_OK);
  CHECK(SMX(argmax)(x.e, best, ROWS, COLS, STRIDE) == SMX_OK);
  CHECK(SMX(top_k)(x.e, ROWS, COLS, STRIDE, 4, index, prob) == SMX_OK);
  for (int r = 0; r < ROWS; r++) {
    double expected = TYPED(lse)(x.e + r * STRIDE, COLS, 1);
    CHECK(near(FROM(lse[r]), expected, TOLERANCE));
    for (int c = 0; c < COLS; c++) {
      double z = FROM(x.e[r * STRIDE + c]) - expected;
      CHECK(near(FROM(y.e[r * STRIDE + c]), exp(z), TOLERANCE) && near(FROM(l.e[r * STRIDE + c]), z, TOLERANCE));
      CHECK(FROM(x.e[r * STRIDE + c]) <= FROM(x.e[r * STRIDE + best[r]]));
    }
    CHECK(index[r * 4] == best[r]);
    for (int i = 0; i < 4; i++) CHECK(near(prob[r * 4 + i], FROM(y.e[r * STRIDE + index[r * 4 + i]]), TOLERANCE));
    CHECK(prob[r * 4] >= prob[r * 4 + 1] && prob[r * 4 + 1] >= prob[r * 4 + 2]);
  }
  CHECK(SMX(softmax)(same.e, same.e, ROWS, COLS, STRIDE, STRIDE) == SMX_OK && memcmp(&same, &y, sizeof y) == 0);
  same = x;
  CHECK(SMX(log_softmax)(same.e, same.e, ROWS, COLS, STRIDE, STRIDE) == SMX_OK && memcmp(&same, &l, sizeof l) == 0);
}

static void TYPED(special_rows)(void) {
  enum { N = 4 };
  X x[5 * N], y[5 * N], l[5 * N], lse[5];
  size_t best[5];
  const double in[5 * N] = {1,         -INFINITY, -INFINITY, -INFINITY, 1,         2,         NAN,
                            3,         1,         INFINITY,  2,         INFINITY,  -INFINITY, -INFINITY,
                            -INFINITY, -INFINITY, -INFINITY, 2,         -INFINITY, 2};
  for (int i = 0; i < 5 * N; i++) x[i] = TO(in[i]);
  CHECK(SMX(softmax)(x, y, 5, N, N, N) == SMX_OK && SMX(log_softmax)(x, l, 5, N, N, N) == SMX_OK);
  CHECK(SMX(logsumexp)(x, lse, 5, N, N) == SMX_OK && SMX(argmax)(x, best, 5, N, N) == SMX_OK);
  CHECK(FROM(y[0]) == 1 && FROM(y[1]) == 0 && near(FROM(l[0]), 0, TOLERANCE) && FROM(l[1]) == -INFINITY);
  for (int i = N; i < 4 * N; i++) CHECK(isnan(FROM(y[i])) && isnan(FROM(l[i])));
  CHECK(FROM(y[16]) == 0 && FROM(y[17]) == 0.5 && FROM(y[19]) == 0.5 && FROM(l[18]) == -INFINITY);
  CHECK(near(FROM(lse[0]), 1, TOLERANCE) && isnan(FROM(lse[1])) && FROM(lse[2]) == INFINITY && FROM(lse[3]) == -INFINITY);
  CHECK(best[0] == 0 && best[1] == 2 && best[2] == 1 && best[3] == 0 && best[4] == 1);
}

static void TYPED(axes)(void) {
  enum { OUTER = 2, LEN = 5, INNER = 3, ALL = OUTER * LEN * INNER };
  X x[ALL], y[ALL], l[ALL], same[ALL], lse[OUTER * INNER];
  for (int i = 0; i < ALL; i++) x[i] = TO((double)(i * 7 % 16) / 4);
  CHECK(SMX(softmax_axis)(x, y, OUTER, LEN, INNER) == SMX_OK && SMX(log_softmax_axis)(x, l, OUTER, LEN, INNER) == SMX_OK);
  CHECK(SMX(logsumexp_axis)(x, lse, OUTER, LEN, INNER) == SMX_OK);
  for (int o = 0; o < OUTER; o++)
    for (int k = 0; k < INNER; k++) {
      int start = o * LEN * INNER + k;
      double expected = TYPED(lse)(x + start, LEN, INNER);
      CHECK(near(FROM(lse[o * INNER + k]), expected, TOLERANCE));
      for (int i = 0; i < LEN; i++) {
        double z = FROM(x[start + i * INNER]) - expected;
        CHECK(near(FROM(y[start + i * INNER]), exp(z), TOLERANCE) && near(FROM(l[start + i * INNER]), z, TOLERANCE));
      }
    }
  memcpy(same, x, sizeof x);
  CHECK(SMX(softmax_axis)(same, same, OUTER, LEN, INNER) == SMX_OK && memcmp(same, y, sizeof y) == 0);
  memcpy(same, x, sizeof x);
  CHECK(SMX(log_softmax_axis)(same, same, OUTER, LEN, INNER) == SMX_OK && memcmp(same, l, sizeof l) == 0);
  REFUSED(SMX_ERR_NULL, y, SMX(softmax_axis)(NULL, y, OUTER, LEN, INNER));
  REFUSED(SMX_ERR_NULL, y, SMX(log_softmax_axis)(x, NULL, OUTER, LEN, INNER));
  REFUSED(SMX_ERR_NULL, lse, SMX(logsumexp_axis)(NULL, lse, OUTER, LEN, INNER));
  REFUSED(SMX_ERR_SHAPE, y, SMX(softmax_axis)(x, y, SIZE_MAX, 2, 2));
  REFUSED(SMX_ERR_SHAPE, y, SMX(log_softmax_axis)(x, y, 2, SIZE_MAX / 4, 1));
  REFUSED(SMX_ERR_SHAPE, lse, SMX(logsumexp_axis)(x, lse, SIZE_MAX, 1, SIZE_MAX));
  REFUSED(SMX_ERR_OVERLAP, y, SMX(softmax_axis)(y, y + 1, 1, LEN, INNER));
  REFUSED(SMX_ERR_OVERLAP, y, SMX(log_softmax_axis)(y + 1, y, 1, LEN, INNER));
  REFUSED(SMX_ERR_OVERLAP, y, SMX(logsumexp_axis)(y, y, OUTER, LEN, INNER));
  REFUSED(SMX_OK, y, SMX(softmax_axis)(NULL, NULL, 0, LEN, INNER));
  REFUSED(SMX_OK, y, SMX(log_softmax_axis)(NULL, y, OUTER, 0, INNER));
  REFUSED(SMX_OK, y, SMX(logsumexp_axis)(NULL, NULL, OUTER, LEN, 0));
  CHECK(SMX(logsumexp_axis)(NULL, lse, OUTER, 0, INNER) == SMX_OK && FROM(lse[OUTER * INNER - 1]) == -INFINITY);
}

static void TYPED(ragged)(void) {
  X x[9], y[9], same[9], whole[4];
  const size_t offsets[5] = {1, 3, 3, 7, 8}, decreasing[3] = {0, 5, 4}, huge[2] = {0, SIZE_MAX};
  for (int i = 0; i < 9; i++) x[i] = TO(i * 3 % 5);
  memset(y, GAP, sizeof y);
  CHECK(SMX(softmax_ragged)(x, y, offsets, 4) == SMX_OK);
  CHECK(memcmp(y, y + 8, sizeof *y) == 0 && near(FROM(y[1]), 1 / (1 + exp(-2)), TOLERANCE) && FROM(y[7]) == 1);
  CHECK(SMX(softmax)(x + 3, whole, 1, 4, 4, 4) == SMX_OK && memcmp(whole, y + 3, sizeof whole) == 0);
  memcpy(same, x, sizeof x);
  CHECK(SMX(softmax_ragged)(same, same, offsets, 4) == SMX_OK && memcmp(same + 1, y + 1, 7 * sizeof *y) == 0);
  REFUSED(SMX_OK, y, SMX(softmax_ragged)(NULL, NULL, NULL, 0));
  REFUSED(SMX_ERR_NULL, y, SMX(softmax_ragged)(x, y, NULL, 2));
  REFUSED(SMX_ERR_NULL, y, SMX(softmax_ragged)(NULL, y, offsets, 2));
  REFUSED(SMX_ERR_NULL, y, SMX(softmax_ragged)(x, NULL, offsets, 2));
  REFUSED(SMX_ERR_SHAPE, y, SMX(softmax_ragged)(x, y, decreasing, 2));
  REFUSED(SMX_ERR_SHAPE, y, SMX(softmax_ragged)(x, y, huge, 1));
  REFUSED(SMX_ERR_SHAPE, y, SMX(softmax_ragged)(x, y, offsets, SIZE_MAX));
  REFUSED(SMX_ERR_OVERLAP, y, SMX(softmax_ragged)(y, y + 1, offsets, 4));
}

static void TYPED(masked)(void) {
  enum { Q = 2, K = 3 };
  const float additive[K] = {0, -INFINITY, 0.5f}, sinks[2 * Q] = {1, 1, 1, 1};
  const uint8_t keep[K] = {1, 1, 0};
  const size_t lengths[2 * Q] = {3, 3, 3, 2}, too_long[2 * Q] = {3, 4, 3, 3};
  X x[2 * Q * K], y[2 * Q * K], l[2 * Q * K], plain[2 * Q * K];
  smx_mask none, mask;
  for (int i = 0; i < 2 * Q * K; i++) x[i] = TO(i % 4);
  memset(&none, 0, sizeof none);
  none.size = sizeof none;
  none.scale = 1;
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &none) == SMX_OK && SMX(softmax)(x, plain, 2 * Q, K, K, K) == SMX_OK);
  CHECK(memcmp(y, plain, sizeof y) == 0);
  CHECK(SMX(masked_log_softmax)(x, l, 2 * Q, K, K, K, &none) == SMX_OK && near(FROM(l[1]), log(FROM(y[1])), 2 * TOLERANCE));

  /* Two heads of two queries, the first key cached: the second head starts again at query 0. */
  mask = none;
  mask.scale = 0.5f;
  mask.causal = true;
  mask.causal_offset = 1;
  mask.queries = Q;
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask) == SMX_OK);
  CHECK(FROM(y[2]) == 0 && FROM(y[5]) > 0 && FROM(y[8]) == 0 && FROM(y[11]) > 0);
  CHECK(near(FROM(y[1]), 1 / (1 + exp(-0.5)), TOLERANCE));
  mask.window = 1;
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask) == SMX_OK);
  CHECK(FROM(y[0]) == 0 && FROM(y[1]) == 1 && FROM(y[5]) == 1);

  mask = none;
  mask.additive = additive;
  mask.softcap = 2;
  mask.lengths = lengths;
  memcpy(plain, x, sizeof x);
  plain[1] = TO(NAN); /* masked: not looked at */
  CHECK(SMX(masked_softmax)(plain, plain, 2 * Q, K, K, K, &mask) == SMX_OK);
  double z = 2 * tanh(FROM(x[2]) / 2) + 0.5;
  CHECK(FROM(plain[1]) == 0 && near(FROM(plain[2]), 1 / (1 + exp(0 - z)), TOLERANCE) && FROM(plain[9]) == 1);
  mask.alibi_slope = 2; /* 0 means 1 */
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask) == SMX_OK && FROM(y[2]) > FROM(plain[2]));

  mask = none;
  mask.keep = keep;
  mask.sinks = sinks;
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask) == SMX_OK);
  CHECK(FROM(y[2]) == 0 && near(FROM(y[1]), exp(1) / (1 + 2 * exp(1)), TOLERANCE));

  mask = none;
  mask.causal = true;
  mask.causal_offset = PTRDIFF_MIN;
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask) == SMX_OK && FROM(y[0]) == 0);
  CHECK(SMX(masked_log_softmax)(x, l, 2 * Q, K, K, K, &mask) == SMX_OK && FROM(l[0]) == -INFINITY);
  mask.fully_masked = SMX_FULLY_MASKED_NAN;
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask) == SMX_OK && isnan(FROM(y[0])));
  mask.causal_offset = PTRDIFF_MAX;
  mask.queries = SIZE_MAX;
  mask.window = SIZE_MAX;
  CHECK(SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask) == SMX_OK && FROM(y[0]) > 0);

#define WRONG(status, field, value)                                                 \
  do {                                                                              \
    mask = none;                                                                    \
    mask.field = value;                                                             \
    REFUSED(status, y, SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask));           \
    REFUSED(status, y, SMX(masked_log_softmax)(x, y, 2 * Q, K, K, K, &mask));       \
  } while (0)
  WRONG(SMX_ERR_PARAM, size, 0);
  WRONG(SMX_ERR_PARAM, size, sizeof mask - 1);
  WRONG(SMX_ERR_PARAM, size, SIZE_MAX);
  WRONG(SMX_ERR_PARAM, scale, NAN);
  WRONG(SMX_ERR_PARAM, scale, INFINITY);
  WRONG(SMX_ERR_PARAM, softcap, -1);
  WRONG(SMX_ERR_PARAM, softcap, NAN);
  WRONG(SMX_ERR_PARAM, alibi_slope, NAN);
  WRONG(SMX_ERR_PARAM, fully_masked, 2);
  WRONG(SMX_ERR_PARAM, fully_masked, -1);
  WRONG(SMX_ERR_SHAPE, lengths, too_long);
  WRONG(SMX_ERR_NULL, additive, (const float *)(const void *)((const char *)additive + 1));
  WRONG(SMX_ERR_OVERLAP, keep, (const uint8_t *)(y + 1));
#undef WRONG
  mask = none;
  mask.additive = additive;
  mask.additive_stride = K - 1;
  REFUSED(SMX_ERR_SHAPE, y, SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask));
  mask.additive_stride = SIZE_MAX / 2;
  REFUSED(SMX_ERR_SHAPE, y, SMX(masked_softmax)(x, y, 2 * Q, K, K, K, &mask));
  REFUSED(SMX_ERR_NULL, y, SMX(masked_softmax)(x, y, 2 * Q, K, K, K, NULL));
  REFUSED(SMX_ERR_NULL, y, SMX(masked_softmax)(NULL, y, 2 * Q, K, K, K, &none));
  REFUSED(SMX_ERR_NULL, y, SMX(masked_log_softmax)(x, NULL, 2 * Q, K, K, K, &none));
  REFUSED(SMX_ERR_SHAPE, y, SMX(masked_softmax)(x, y, 2, K, K, K - 1, &none));
  REFUSED(SMX_ERR_OVERLAP, y, SMX(masked_softmax)(y, y + K, 2, K, K, K, &none));
  smx_mask own[1] = {none};
  REFUSED(SMX_ERR_OVERLAP, own, SMX(masked_softmax)(x, (X *)(void *)own, 1, K, K, K, own));
  REFUSED(SMX_OK, y, SMX(masked_softmax)(NULL, NULL, 0, K, 0, 0, &none));
  REFUSED(SMX_OK, y, SMX(masked_log_softmax)(NULL, y, Q, 0, 0, 0, &none));
}

static void TYPED(gradients)(void) {
  enum { N = 3 };
  const double p[N] = {0.25, 0.5, 0.25}, d[N] = {1, 2, -1};
  X y[2 * N], dy[2 * N], dx[2 * N], same[2 * N];
  for (int i = 0; i < 2 * N; i++) y[i] = TO(p[i % N]), dy[i] = TO(d[i % N]);
  CHECK(SMX(softmax_backward)(y, dy, dx, 2, N, N, N, N) == SMX_OK);
  for (int i = 0; i < 2 * N; i++) CHECK(near(FROM(dx[i]), p[i % N] * (d[i % N] - 1), TOLERANCE));
  memcpy(same, dy, sizeof dy);
  CHECK(SMX(softmax_backward)(y, same, same, 2, N, N, N, N) == SMX_OK && memcmp(same, dx, sizeof dx) == 0);
  CHECK(SMX(log_softmax_backward)(y, dy, dx, 2, N, N, N, N) == SMX_OK);
  for (int i = 0; i < 2 * N; i++) CHECK(near(FROM(dx[i]), d[i % N] - exp(p[i % N]) * 2, TOLERANCE));
  memcpy(same, dy, sizeof dy);
  CHECK(SMX(log_softmax_backward)(y, same, same, 2, N, N, N, N) == SMX_OK && memcmp(same, dx, sizeof dx) == 0);
  CHECK(SMX(softmax_backward)(y, y, dx, 2, N, N, N, N) == SMX_OK); /* two inputs may be one */
  int (*const functions[])(const X *, const X *, X *, size_t, size_t, size_t, size_t, size_t) = {
      SMX(softmax_backward), SMX(log_softmax_backward)};
  for (int f = 0; f < 2; f++) {
    REFUSED(SMX_ERR_NULL, dx, functions[f](NULL, dy, dx, 2, N, N, N, N));
    REFUSED(SMX_ERR_NULL, dx, functions[f](y, NULL, dx, 2, N, N, N, N));
    REFUSED(SMX_ERR_NULL, dx, functions[f](y, dy, NULL, 2, N, N, N, N));
    REFUSED(SMX_ERR_SHAPE, dx, functions[f](y, dy, dx, 2, N, 2, N, N));
    REFUSED(SMX_ERR_SHAPE, dx, functions[f](y, dy, dx, 2, N, N, 2, N));
    REFUSED(SMX_ERR_SHAPE, dx, functions[f](y, dy, dx, 2, N, N, N, 2));
    REFUSED(SMX_ERR_SHAPE, dx, functions[f](y, dy, dx, SIZE_MAX, N, N, N, N));
    REFUSED(SMX_ERR_OVERLAP, dx, functions[f](dx, dy, dx, 2, N, N, N, N));
    REFUSED(SMX_ERR_OVERLAP, dx, functions[f](y, dx + 1, dx, 1, N, N, N, N));
    REFUSED(SMX_OK, dx, functions[f](NULL, NULL, NULL, 0, N, 0, 0, 0));
    REFUSED(SMX_OK, dx, functions[f](NULL, NULL, NULL, N, 0, 0, 0, 0));
  }
}

static void TYPED(losses)(void) {
  enum { N = 3, C = 4 };
  const int64_t labels[N] = {2, -100, 0}, no_class[N] = {2, 4, 0}, negative[N] = {2, -1, 0}, ignored[N] = {-100, -100, -100};
  const float weights[C] = {1, 2, 0.5f, 1};
  X x[N * C], dx[N * C];
  P loss[N], one[1];
  smx_cross_entropy_params params, wrong;
  memset(&params, 0, sizeof params);
  params.size = sizeof params;
  params.ignore_index = -100;
  for (int i = 0; i < N * C; i++) x[i] = TO(i * 5 % 7);
  double expected[N];
  for (int r = 0; r < N; r++) expected[r] = r == 1 ? 0 : TYPED(lse)(x + r * C, C, 1) - FROM(x[r * C + labels[r]]);
  CHECK(SMX(cross_entropy)(x, labels, loss, dx, N, C, C, C, &params) == SMX_OK);
  for (int r = 0; r < N; r++) {
    double lse = TYPED(lse)(x + r * C, C, 1);
    CHECK(near(loss[r], expected[r], 2 * TOLERANCE));
    for (int c = 0; c < C; c++)
      CHECK(near(FROM(dx[r * C + c]), r == 1 ? 0 : exp(FROM(x[r * C + c]) - lse) - (c == labels[r]), TOLERANCE));
  }
  params.reduction = SMX_REDUCTION_SUM;
  CHECK(SMX(cross_entropy)(x, labels, one, NULL, N, C, C, 0, &params) == SMX_OK);
  CHECK(near(one[0], expected[0] + expected[2], 2 * TOLERANCE));
  params.reduction = SMX_REDUCTION_MEAN;
  params.class_weights = weights;
  CHECK(SMX(cross_entropy)(x, labels, one, dx, N, C, C, C, &params) == SMX_OK);
  CHECK(near(one[0], (0.5 * expected[0] + expected[2]) / 1.5, 2 * TOLERANCE));
  CHECK(SMX(cross_entropy)(x, ignored, one, dx, N, C, C, C, &params) == SMX_OK && isnan(one[0]) && FROM(dx[0]) == 0);
  one[0] = 5;
  CHECK(SMX(cross_entropy)(NULL, NULL, one, NULL, 0, C, 0, 0, &params) == SMX_OK && isnan(one[0]));
  CHECK(SMX(cross_entropy)(NULL, NULL, NULL, NULL, 0, C, 0, 0, &params) == SMX_ERR_NULL);
  params.label_smoothing = 0.25f;
  params.class_weights = NULL;
  params.reduction = SMX_REDUCTION_NONE;
  CHECK(SMX(cross_entropy)(x, labels, loss, NULL, N, C, C, C, &params) == SMX_OK);
  double smooth = 0.75 * expected[0];
  for (int c = 0; c < C; c++) smooth += 0.0625 * (TYPED(lse)(x, C, 1) - FROM(x[c]));
  CHECK(near(loss[0], smooth, 2 * TOLERANCE));
  REFUSED(SMX_OK, loss, SMX(cross_entropy)(NULL, NULL, NULL, NULL, 0, C, 0, 0, &params));
  REFUSED(SMX_OK, loss, SMX(cross_entropy)(NULL, NULL, NULL, NULL, N, 0, 0, 0, &params));

#define WRONG(field, value)                                                                 \
  do {                                                                                      \
    wrong = params;                                                                         \
    wrong.field = value;                                                                    \
    REFUSED(SMX_ERR_PARAM, loss, SMX(cross_entropy)(x, labels, loss, dx, N, C, C, C, &wrong)); \
    REFUSED(SMX_ERR_PARAM, dx, SMX(cross_entropy)(x, labels, loss, dx, N, C, C, C, &wrong));   \
  } while (0)
  WRONG(size, 0);
  WRONG(size, sizeof params + 8);
  WRONG(label_smoothing, 1);
  WRONG(label_smoothing, -0.5f);
  WRONG(label_smoothing, NAN);
  WRONG(reduction, 3);
  WRONG(reduction, -1);
#undef WRONG
  REFUSED(SMX_ERR_PARAM, loss, SMX(cross_entropy)(x, no_class, loss, dx, N, C, C, C, &params));
  REFUSED(SMX_ERR_PARAM, dx, SMX(cross_entropy)(x, negative, loss, dx, N, C, C, C, &params));
  REFUSED(SMX_ERR_NULL, loss, SMX(cross_entropy)(x, labels, loss, dx, N, C, C, C, NULL));
  REFUSED(SMX_ERR_NULL, loss, SMX(cross_entropy)(NULL, labels, loss, dx, N, C, C, C, &params));
  REFUSED(SMX_ERR_NULL, loss, SMX(cross_entropy)(x, NULL, loss, dx, N, C, C, C, &params));
  REFUSED(SMX_ERR_NULL, dx, SMX(cross_entropy)(x, labels, NULL, dx, N, C, C, C, &params));
  REFUSED(SMX_ERR_SHAPE, loss, SMX(cross_entropy)(x, labels, loss, dx, N, C, C - 1, C, &params));
  REFUSED(SMX_ERR_SHAPE, loss, SMX(cross_entropy)(x, labels, loss, dx, N, C, C, C - 1, &params));
  REFUSED(SMX_ERR_SHAPE, loss, SMX(cross_entropy)(x, labels, loss, dx, SIZE_MAX, C, C, C, &params));
  REFUSED(SMX_ERR_OVERLAP, x, SMX(cross_entropy)(x, labels, loss, x, N, C, C, C, &params));
  REFUSED(SMX_ERR_OVERLAP, dx, SMX(cross_entropy)(x, labels, (P *)(void *)dx, dx, 2, C, C, C, &params));
  smx_cross_entropy_params own[1] = {params};
  REFUSED(SMX_ERR_OVERLAP, own, SMX(cross_entropy)(x, labels, (P *)(void *)own, dx, 2, C, C, C, own));
  REFUSED(SMX_ERR_OVERLAP, own, SMX(cross_entropy)(x, labels, loss, (X *)(void *)own, 2, C, C, C, own));
}

static void TYPED(errors)(void) {
  X y[ROWS * STRIDE];
  struct TYPED(rows) x = TYPED(logits)();
  size_t index[2 * ROWS];
  P prob[2 * ROWS];
  memset(y, GAP, sizeof y);
  memset(index, GAP, sizeof index);
  memset(prob, GAP, sizeof prob);
  int (*const functions[])(const X *, X *, size_t, size_t, size_t, size_t) = {SMX(softmax), SMX(log_softmax)};
  for (int f = 0; f < 2; f++) {
    REFUSED(SMX_ERR_NULL, y, functions[f](NULL, y, ROWS, COLS, STRIDE, STRIDE));
    REFUSED(SMX_ERR_NULL, y, functions[f](x.e, NULL, ROWS, COLS, STRIDE, STRIDE));
    REFUSED(SMX_ERR_NULL, y, functions[f]((const X *)(const void *)((const char *)x.e + 1), y, 1, COLS, STRIDE, STRIDE));
    REFUSED(SMX_ERR_NULL, y, functions[f](x.e, (X *)(void *)((char *)y + 1), 1, COLS, STRIDE, STRIDE));
    REFUSED(SMX_ERR_SHAPE, y, functions[f](x.e, y, ROWS, COLS, COLS - 1, STRIDE));
    REFUSED(SMX_ERR_SHAPE, y, functions[f](x.e, y, ROWS, COLS, STRIDE, 0));
    REFUSED(SMX_ERR_SHAPE, y, functions[f](x.e, y, SIZE_MAX, COLS, STRIDE, STRIDE));
    REFUSED(SMX_ERR_SHAPE, y, functions[f](x.e, y, 2, COLS, SIZE_MAX, STRIDE));
    REFUSED(SMX_ERR_SHAPE, y, functions[f](x.e, y, 1, SIZE_MAX, SIZE_MAX, SIZE_MAX));
    REFUSED(SMX_ERR_SHAPE, y, functions[f](x.e, y, 1, SIZE_MAX / sizeof(X), SIZE_MAX, SIZE_MAX));
    REFUSED(SMX_ERR_OVERLAP, y, functions[f](y, y + 1, 1, COLS, COLS, COLS));
    REFUSED(SMX_ERR_OVERLAP, y, functions[f](y + 1, y, 1, COLS, COLS, COLS));
    REFUSED(SMX_ERR_OVERLAP, y, functions[f](y, y, 2, COLS, COLS, STRIDE));
    REFUSED(SMX_ERR_OVERLAP, y, functions[f](y, y + STRIDE, 2, COLS, STRIDE, STRIDE));
    REFUSED(SMX_OK, y, functions[f](x.e, y, 0, COLS, STRIDE, STRIDE));
    REFUSED(SMX_OK, y, functions[f](NULL, NULL, 0, COLS, 0, 0));
    REFUSED(SMX_OK, y, functions[f](NULL, NULL, SIZE_MAX, 0, 0, 0));
    CHECK(functions[f](y, y + COLS, 1, COLS, COLS, COLS) == SMX_OK); /* side by side */
    memset(y, GAP, sizeof y);
  }
  REFUSED(SMX_ERR_NULL, y, SMX(logsumexp)(NULL, y, ROWS, COLS, STRIDE));
  REFUSED(SMX_ERR_NULL, y, SMX(logsumexp)(x.e, NULL, ROWS, COLS, STRIDE));
  REFUSED(SMX_ERR_SHAPE, y, SMX(logsumexp)(x.e, y, ROWS, COLS, 1));
  REFUSED(SMX_ERR_SHAPE, y, SMX(logsumexp)(x.e, y, SIZE_MAX, COLS, COLS));
  REFUSED(SMX_ERR_OVERLAP, y, SMX(logsumexp)(y, y, 1, COLS, COLS));
  REFUSED(SMX_OK, y, SMX(logsumexp)(NULL, NULL, 0, COLS, 0));
  CHECK(SMX(logsumexp)(NULL, y, 2, 0, 0) == SMX_OK && FROM(y[0]) == -INFINITY && FROM(y[1]) == -INFINITY);
  REFUSED(SMX_ERR_NULL, index, SMX(argmax)(NULL, index, ROWS, COLS, STRIDE));
  REFUSED(SMX_ERR_NULL, index, SMX(argmax)(x.e, NULL, ROWS, COLS, STRIDE));
  REFUSED(SMX_ERR_SHAPE, index, SMX(argmax)(x.e, index, ROWS, COLS, 1));
  REFUSED(SMX_ERR_SHAPE, index, SMX(argmax)(x.e, index, SIZE_MAX, COLS, COLS));
  REFUSED(SMX_ERR_OVERLAP, index, SMX(argmax)((const X *)(void *)index, index, 1, 2, 2));
  REFUSED(SMX_OK, index, SMX(argmax)(NULL, NULL, 0, COLS, 0));
  REFUSED(SMX_OK, index, SMX(argmax)(NULL, index, 2, 0, 0));
  REFUSED(SMX_ERR_SHAPE, index, SMX(top_k)(x.e, ROWS, COLS, STRIDE, COLS + 1, index, prob));
  REFUSED(SMX_ERR_SHAPE, index, SMX(top_k)(x.e, ROWS, 0, 0, 1, index, prob));
  REFUSED(SMX_ERR_SHAPE, index, SMX(top_k)(x.e, SIZE_MAX, COLS, STRIDE, 2, index, prob));
  REFUSED(SMX_ERR_SHAPE, index, SMX(top_k)(x.e, ROWS, COLS, COLS - 1, 2, index, prob));
  REFUSED(SMX_ERR_NULL, index, SMX(top_k)(NULL, ROWS, COLS, STRIDE, 2, index, prob));
  REFUSED(SMX_ERR_NULL, prob, SMX(top_k)(x.e, ROWS, COLS, STRIDE, 2, NULL, prob));
  REFUSED(SMX_ERR_NULL, index, SMX(top_k)(x.e, ROWS, COLS, STRIDE, 2, index, NULL));
  REFUSED(SMX_ERR_OVERLAP, index, SMX(top_k)(x.e, ROWS, COLS, STRIDE, 2, index, (P *)(void *)index));
  REFUSED(SMX_OK, index, SMX(top_k)(NULL, ROWS, COLS, STRIDE, 0, NULL, NULL));
  REFUSED(SMX_OK, index, SMX(top_k)(NULL, 0, COLS, 0, 2, NULL, NULL));
}

static void TYPED(typed)(void) {
  TYPED(rows_of)();
  TYPED(special_rows)();
  TYPED(axes)();
  TYPED(ragged)();
  TYPED(masked)();
  TYPED(gradients)();
  TYPED(losses)();
  TYPED(errors)();
}

#undef ROWS
#undef COLS
#undef STRIDE
#undef GAP
#undef SMX
#undef TO
#undef FROM
#undef TYPED
#undef T
#undef X
#undef P
#undef TOLERANCE
