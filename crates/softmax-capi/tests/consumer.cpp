// A program in C++17 that links libsoftmax: overloads over the types, an engine's own threads, a flash-style loop.
#include <softmax.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <limits>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

int failures = 0;

void check(bool condition, const char *what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  ++failures;
}

int softmax(const float *x, float *y, size_t rows, size_t cols) { return smx_softmax_f32(x, y, rows, cols, cols, cols); }
int softmax(const double *x, double *y, size_t rows, size_t cols) { return smx_softmax_f64(x, y, rows, cols, cols, cols); }

template <typename T>
void sums_to_one() {
  std::vector<T> x(3 * 1000), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(std::sin(static_cast<double>(i)) * 5);
  check(softmax(x.data(), y.data(), 3, 1000) == SMX_OK, "softmax");
  for (size_t row = 0; row < 3; ++row) {
    double sum = 0;
    for (size_t i = 0; i < 1000; ++i) sum += static_cast<double>(y[row * 1000 + i]);
    check(std::abs(sum - 1) < 100 * static_cast<double>(std::numeric_limits<T>::epsilon()), "a row sums to 1");
  }
}

struct Pool {
  unsigned threads;
  std::atomic<size_t> tasks{0};

  static void run(void *context, size_t tasks, smx_task task, void *data) {
    auto &pool = *static_cast<Pool *>(context);
    pool.tasks = tasks;
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < pool.threads; ++t)
      threads.emplace_back([&] {
        for (size_t i = next++; i < tasks; i = next++) task(data, i);
      });
    for (auto &thread : threads) thread.join();
  }
};

void same_bits_on_any_threads() {
  const size_t rows = 200, cols = 777;
  std::vector<float> x(rows * cols), expected(x.size()), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7919 % 1013) / 50;
  check(smx_softmax_f32(x.data(), expected.data(), rows, cols, cols, cols) == SMX_OK, "softmax");
  for (unsigned threads : {1u, 2u, 7u}) {
    Pool pool{threads};
    y.assign(y.size(), -1.0f);
    check(smx_softmax_parallel_f32(x.data(), y.data(), rows, cols, cols, cols, Pool::run, &pool) == SMX_OK, "parallel");
    check(y == expected && pool.tasks > 1, "the same bits on any number of threads");
  }
}

// An exception that leaves parallel_for must not unwind the library: it ends the program.
void exceptions_do_not_pass() {
  const pid_t child = fork();
  if (child == 0) {
    float x[4] = {};
    auto throws = [](void *, size_t, smx_task, void *) { throw 1; };
    if (!std::freopen("/dev/null", "w", stderr)) _exit(1);
    try {
      smx_softmax_parallel_f32(x, x, 1, 4, 4, 4, throws, nullptr);
    } catch (...) {
    }
    _exit(0);
  }
  int status = 0;
  check(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "no unwinding");
}

// exp and sum tile by tile with the row primitives, as an engine's own loop does, against the streaming state.
void row_loop_and_stream_agree() {
  std::vector<float> x(5000), e(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 97) / 8;
  const float max = smx_row_max_f32(x.data(), x.size());
  const double sum = smx_row_exp_sub_max_sum_f32(x.data(), e.data(), x.size(), max);
  smx_row_scale_f32(e.data(), e.size(), static_cast<float>(1 / sum));
  smx_online_f32 state;
  smx_online_init_f32(&state);
  for (size_t i = 0; i < x.size(); i += 512)
    check(smx_online_update_f32(&state, &x[i], std::min<size_t>(512, x.size() - i)) == SMX_OK, "update");
  check(smx_online_finish_f32(&state, x.data(), x.data(), x.size()) == SMX_OK, "finish in place");
  for (size_t i = 0; i < x.size(); ++i) check(std::abs(x[i] - e[i]) <= 4e-6f * e[i], "loop and stream agree");
  check(std::abs(smx_online_logsumexp_f32(&state) - (static_cast<double>(max) + std::log(sum))) < 1e-5, "logsumexp");
}

static_assert(std::is_standard_layout_v<smx_mask> && std::is_trivial_v<smx_mask>);
static_assert(std::is_same_v<decltype(&smx_softmax_f16), int (*)(const uint16_t *, uint16_t *, size_t, size_t, size_t, size_t)>);

}  // namespace

int main() {
  sums_to_one<float>();
  sums_to_one<double>();
  same_bits_on_any_threads();
  exceptions_do_not_pass();
  row_loop_and_stream_agree();
  smx_mask mask{};
  mask.size = sizeof mask;
  mask.scale = 1;
  mask.causal = true;
  float x[4] = {1, 2, 3, 4};
  check(smx_masked_softmax_f32(x, x, 2, 2, 2, 2, &mask) == SMX_OK && x[0] == 1 && x[1] == 0, "causal");
  check(smx_softmax_f32(nullptr, x, 2, 2, 2, 2) == SMX_ERR_NULL, "null");
  check(std::string_view(smx_status_message(SMX_OK)) == "success", "message");
  check(std::string_view(smx_version()) == VERSION, "version");
  std::printf("C++: %s\n", smx_isa_name());
  return failures != 0;
}
