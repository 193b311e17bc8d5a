// Softmax attention of narrow heads and its gradients, in float32.
//
// With c channels, a similarity costs c multiplications and an exponential. Libraries compute similarities as
// matrix products, which need at least as many channels as a vector register has lanes, and write them to memory.
// Here the lanes of a register are queries, a loop goes over the keys, and similarities never leave the registers.
//
// `projected` is (batch, 3, heads, channels, tokens): queries, keys and values. An item is one head of one element
// of the batch; callers divide items among threads. Queries are `count` tokens from `start`, `step` apart; others
// are not computed. `attended` is (batch, heads, channels, tokens) and `statistics` (batch, heads, 2, count): for
// each query the greatest similarity, times log2(e), and one over the sum of the exponentials.
//
// LANES is the number of floats in a vector register.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t Bits __attribute__((vector_size(4 * LANES)));

#define INLINE inline __attribute__((always_inline))

constexpr float LOG2_E = 1.44269504088896341f;
constexpr float LN_2 = 0.69314718055994531f;

INLINE Lanes load(const float* from) {
  Lanes values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

INLINE void store(float* to, Lanes values) { std::memcpy(to, &values, sizeof values); }

// The sum of 2 W values: halves are added until two are left.
template <int W>
INLINE float sum(const float* values) {
  typedef float Half __attribute__((vector_size(4 * W)));
  Half first, second;
  std::memcpy(&first, values, sizeof first);
  std::memcpy(&second, values + W, sizeof second);
  first += second;
  float sums[W];
  std::memcpy(sums, &first, sizeof sums);
  if constexpr (W > 2)
    return sum<W / 2>(sums);
  else
    return sums[0] + sums[1];
}

// 2^x for x <= 0, to 1e-7 of it; at least 2^-126, and NaN for NaN.
INLINE Lanes power_of_two(Lanes x) {
  const Lanes least = Lanes{} - 126.0f;
  x = x < least ? least : x;
  // 1.5 * 2^23: the last bits of the sum are the integer nearest to x, plus 127, the exponent of that power of two.
  const Lanes to_integer = Lanes{} + (12582912.0f + 127.0f);
  const Lanes shifted = x + to_integer;
  const Lanes rest = x - (shifted - to_integer);  // -0.5 to 0.5
  Lanes power = Lanes{} + 1.33335581e-3f;
  power = power * rest + 9.61812911e-3f;
  power = power * rest + 5.55041087e-2f;
  power = power * rest + 2.40226507e-1f;
  power = power * rest + 6.93147181e-1f;
  power = power * rest + 1.0f;
  return power * (Lanes)((Bits)shifted << 23);
}

struct Shape {
  int64_t heads, tokens, start, step, count, padded;

  // Where the queries (0), keys (1) or values (2) of an item begin.
  int64_t begin(int64_t item, int64_t which, int64_t channels) const {
    return ((item / heads * 3 + which) * heads + item % heads) * channels * tokens;
  }
};

// Copies of one head: queries as lanes, padded with zeros, times scale and log2(e); keys and values by token.
template <int C>
struct Head {
  float *query, *key, *value, *end;

  Head(float* memory, const Shape& shape)
      : query(memory), key(query + C * shape.padded), value(key + C * shape.tokens), end(value + C * shape.tokens) {}

  void read(const float* projected, const Shape& shape, int64_t item) const {
    const float scale = LOG2_E / std::sqrt(float(C));
    for (int c = 0; c < C; ++c) {
      const float* queries = projected + shape.begin(item, 0, C) + c * shape.tokens + shape.start;
      const float* keys = projected + shape.begin(item, 1, C) + c * shape.tokens;
      const float* values = projected + shape.begin(item, 2, C) + c * shape.tokens;
      float* lanes = query + c * shape.padded;
      for (int64_t q = 0; q < shape.count; ++q) lanes[q] = queries[q * shape.step] * scale;
      for (int64_t q = shape.count; q < shape.padded; ++q) lanes[q] = 0;
      for (int64_t t = 0; t < shape.tokens; ++t) key[t * C + c] = keys[t], value[t * C + c] = values[t];
    }
  }
};

template <int C>
INLINE Lanes dot(const Lanes (&a)[C], const float* b) {
  Lanes sum = a[0] * b[0];
  for (int c = 1; c < C; ++c) sum += a[c] * b[c];
  return sum;
}

// N registers of queries: their results and statistics.
template <int C, int N>
INLINE void attend(const Head<C>& head, const Shape& shape, int64_t first, float* attended, float* statistics) {
  Lanes query[N][C], greatest[N], total[N], result[N][C];
  for (int n = 0; n < N; ++n) {
    for (int c = 0; c < C; ++c) {
      query[n][c] = load(head.query + c * shape.padded + first + n * LANES);
      result[n][c] = Lanes{};
    }
    greatest[n] = Lanes{} - INFINITY;
    total[n] = Lanes{};
  }
  for (int64_t t = 0; t < shape.tokens; ++t)
    for (int n = 0; n < N; ++n) {
      const Lanes similarity = dot<C>(query[n], head.key + t * C);
      greatest[n] = greatest[n] > similarity ? greatest[n] : similarity;
    }
  for (int64_t t = 0; t < shape.tokens; ++t)
    for (int n = 0; n < N; ++n) {
      const Lanes power = power_of_two(dot<C>(query[n], head.key + t * C) - greatest[n]);
      total[n] += power;
      for (int c = 0; c < C; ++c) result[n][c] += power * head.value[t * C + c];
    }
  for (int n = 0; n < N; ++n) {
    const Lanes inverse = 1.0f / total[n];
    for (int c = 0; c < C; ++c) store(attended + c * shape.padded + first + n * LANES, result[n][c] * inverse);
    store(statistics + first + n * LANES, greatest[n]);
    store(statistics + shape.padded + first + n * LANES, inverse);
  }
}

// One register of queries: their gradients, and what they add to those of keys and values, lane by lane.
template <int C>
INLINE void attend_backward(const Head<C>& head, const Shape& shape, int64_t first, const float* statistics,
                            const float* grad, const float* offset, float* grad_query, float* sums) {
  Lanes query[C], scaled_grad[C], result[C];
  const Lanes greatest = load(statistics + first), inverse = load(statistics + shape.padded + first);
  for (int c = 0; c < C; ++c) {
    query[c] = load(head.query + c * shape.padded + first);
    scaled_grad[c] = load(grad + c * shape.padded + first) * inverse;
    result[c] = Lanes{};
  }
  const Lanes scaled_offset = load(offset + first) * inverse;
  for (int64_t t = 0; t < shape.tokens; ++t) {
    const float *key = head.key + t * C, *value = head.value + t * C;
    float* sum_key = sums + t * 2 * C * LANES;
    float* sum_value = sum_key + C * LANES;
    const Lanes power = power_of_two(dot<C>(query, key) - greatest);
    const Lanes grad_similarity = power * (dot<C>(scaled_grad, value) - scaled_offset);
    for (int c = 0; c < C; ++c) {
      result[c] += grad_similarity * key[c];
      store(sum_key + c * LANES, load(sum_key + c * LANES) + grad_similarity * query[c]);
      store(sum_value + c * LANES, load(sum_value + c * LANES) + power * scaled_grad[c]);
    }
  }
  for (int c = 0; c < C; ++c) store(grad_query + c * shape.padded + first, result[c]);
}

template <int C>
void forward(const float* projected, const Shape& shape, int64_t item, float* attended, float* statistics,
             float* memory) {
  constexpr int N = C <= 4 ? 2 : 1;  // as many registers of queries as a processor has room for
  const Head<C> head(memory, shape);
  float* result = head.end;
  float* found = result + C * shape.padded;
  head.read(projected, shape, item);
  int64_t first = 0;
  for (; first + N * LANES <= shape.padded; first += N * LANES) attend<C, N>(head, shape, first, result, found);
  for (; first < shape.padded; first += LANES) attend<C, 1>(head, shape, first, result, found);
  for (int c = 0; c < C; ++c) {
    float* to = attended + (item * C + c) * shape.tokens + shape.start;
    for (int64_t q = 0; q < shape.count; ++q) to[q * shape.step] = result[c * shape.padded + q];
  }
  for (int64_t which = 0; which < 2; ++which)
    std::memcpy(statistics + (item * 2 + which) * shape.count, found + which * shape.padded, 4 * shape.count);
}

template <int C>
void backward(const float* projected, const Shape& shape, int64_t item, const float* attended, const float* statistics,
              const float* grad, float* grad_projected, float* memory) {
  const Head<C> head(memory, shape);
  float* grads = head.end;
  float* found = grads + C * shape.padded;
  float* offset = found + 2 * shape.padded;
  float* result = offset + shape.padded;
  float* sums = result + C * shape.padded;
  head.read(projected, shape, item);
  std::memset(grads, 0, 4 * (C + 3) * shape.padded);
  std::memset(sums, 0, 4 * 2 * C * LANES * shape.tokens);
  for (int64_t which = 0; which < 2; ++which)
    std::memcpy(found + which * shape.padded, statistics + (item * 2 + which) * shape.count, 4 * shape.count);
  for (int c = 0; c < C; ++c) {
    const int64_t row = (item * C + c) * shape.tokens + shape.start;
    for (int64_t q = 0; q < shape.count; ++q) {
      const float value = grad[row + q * shape.step];
      grads[c * shape.padded + q] = value;
      offset[q] += value * attended[row + q * shape.step];
    }
  }
  for (int64_t first = 0; first < shape.padded; first += LANES)
    attend_backward<C>(head, shape, first, found, grads, offset, result, sums);
  const float scale = 1 / std::sqrt(float(C));
  for (int c = 0; c < C; ++c) {
    float* query = grad_projected + shape.begin(item, 0, C) + c * shape.tokens + shape.start;
    float* key = grad_projected + shape.begin(item, 1, C) + c * shape.tokens;
    float* value = grad_projected + shape.begin(item, 2, C) + c * shape.tokens;
    for (int64_t q = 0; q < shape.count; ++q) query[q * shape.step] = result[c * shape.padded + q] * scale;
    for (int64_t t = 0; t < shape.tokens; ++t) {
      key[t] = sum<LANES / 2>(sums + (t * 2 * C + c) * LANES) * LN_2;  // the queries are times log2(e)
      value[t] = sum<LANES / 2>(sums + (t * 2 * C + C + c) * LANES);
    }
  }
}

template <int C>
void all(const float* projected, const Shape& shape, int64_t first, int64_t last, float* attended, float* statistics,
         const float* grad, float* grad_projected, float* memory) {
  for (int64_t item = first; item < last; ++item)
    if (grad)
      backward<C>(projected, shape, item, attended, statistics, grad, grad_projected, memory);
    else
      forward<C>(projected, shape, item, attended, statistics, memory);
}

}  // namespace

// Items from first to last. Without `grad`, `attended` and `statistics` are computed; with it, `grad_projected` is,
// but for queries that are not read. Returns 0, or 1 if there is no memory for the copies of one head.
extern "C" int losa_attention(const float* projected, int64_t heads, int64_t channels, int64_t tokens,
                              int64_t start, int64_t step, int64_t count, int64_t first, int64_t last, float* attended, float* statistics,
                              const float* grad, float* grad_projected) {
  constexpr decltype(&all<1>) BY_CHANNELS[] = {all<1>,  all<2>,  all<3>,  all<4>,  all<5>,  all<6>,  all<7>, all<8>,
                                               all<9>,  all<10>, all<11>, all<12>, all<13>, all<14>, all<15>};
  const int64_t padded = (count + LANES - 1) / LANES * LANES;
  const Shape shape{heads, tokens, start, step, count, padded};
  const int64_t floats = padded * (3 * channels + 3) + 2 * channels * tokens * (1 + LANES);
  float* memory = static_cast<float*>(std::malloc(4 * floats));
  if (!memory) return 1;
  BY_CHANNELS[channels - 1](projected, shape, first, last, attended, statistics, grad, grad_projected, memory);
  std::free(memory);
  return 0;
}
