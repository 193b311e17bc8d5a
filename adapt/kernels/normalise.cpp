// LayerNorm of sums of two features, in one pass over memory: torch writes the sums, reads them again, and takes
// twice as long.
//
// LANES is the number of floats in a vector register.

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

typedef float Lanes __attribute__((vector_size(4 * LANES)));

inline Lanes load(const float* from) {
  Lanes values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

inline void store(float* to, Lanes values) { std::memcpy(to, &values, sizeof values); }

inline float sum(Lanes values) {
  float total = 0;
  for (int lane = 0; lane < LANES; ++lane) total += values[lane];
  return total;
}

}  // namespace

// Rows are those of all tokens from first to last, of images with `tokens` tokens each. Images of `a` and of `b`,
// which may be null for zeros, are `a_stride` and `b_stride` floats apart, and their tokens `width`. `sums`, which may
// be null, `normalised` and `scales` are contiguous; a scale is 1 / sqrt(variance + eps). Returns 0.
extern "C" int losa_normalise(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t tokens,
                              int64_t width, float eps, int64_t first, int64_t last, float* sums, float* normalised,
                              float* scales) {
  const int64_t whole = width / LANES * LANES;
  for (int64_t row = first; row < last; ++row) {
    const int64_t image = row / tokens, token = row % tokens;
    const float* x = a + image * a_stride + token * width;
    const float* y = b == nullptr ? nullptr : b + image * b_stride + token * width;
    float* to = normalised + row * width;
    Lanes totals = {};
    float rest = 0;
    for (int64_t i = 0; i < whole; i += LANES) {
      const Lanes values = y == nullptr ? load(x + i) : load(x + i) + load(y + i);
      store(to + i, values);
      totals += values;
    }
    for (int64_t i = whole; i < width; ++i) rest += to[i] = y == nullptr ? x[i] : x[i] + y[i];
    if (sums != nullptr) std::memcpy(sums + row * width, to, width * sizeof(float));
    const float mean = (sum(totals) + rest) / width;
    totals = Lanes{};
    rest = 0;
    for (int64_t i = 0; i < whole; i += LANES) {
      const Lanes distance = load(to + i) - mean;
      totals += distance * distance;
    }
    for (int64_t i = whole; i < width; ++i) rest += (to[i] - mean) * (to[i] - mean);
    const float scale = 1 / std::sqrt((sum(totals) + rest) / width + eps);
    for (int64_t i = 0; i < whole; i += LANES) store(to + i, (load(to + i) - mean) * scale);
    for (int64_t i = whole; i < width; ++i) to[i] = (to[i] - mean) * scale;
    scales[row] = scale;
  }
  return 0;
}
