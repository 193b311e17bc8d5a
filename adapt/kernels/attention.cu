// Softmax attention of narrow heads and its gradients on a GPU, in float32. See attention.cpp for the arguments.
//
// A thread has one query, or one key where it computes gradients of keys and values; the others come through
// shared memory, TILE tokens at a time. Nothing is added up by several threads: results are the same in every run.
// CHANNELS is defined by whoever compiles.

constexpr int C = CHANNELS;
constexpr int TILE = 128;
constexpr float LOG2_E = 1.44269504088896341f;
constexpr float LN_2 = 0.69314718055994531f;

struct KeyValue {
  float key[C], value[C];
};

struct __align__(16) SharedKeyValue : KeyValue {};

struct __align__(16) SharedQuery {
  float query[C], grad[C];  // the query times scale and log2(e), the gradient of its result over the total
  float greatest, offset;
};

__device__ float dot(const float (&a)[C], const float (&b)[C]) {
  float sum = a[0] * b[0];
#pragma unroll
  for (int c = 1; c < C; ++c) sum = fmaf(a[c], b[c], sum);
  return sum;
}

// One head of one element of the batch, and the queries that are read.
struct Head {
  const float *projected, *attended, *statistics, *grad;
  long long stride;  // between queries, keys and values
  int tokens, start, step, count;

  __device__ float at(int which, int c, int token) const { return projected[which * stride + (long long)c * tokens + token]; }

  __device__ void read_query(int q, float scale, float (&query)[C]) const {
#pragma unroll
    for (int c = 0; c < C; ++c) query[c] = at(0, c, start + q * step) * scale;
  }

  __device__ void read_key(int token, KeyValue& into) const {
#pragma unroll
    for (int c = 0; c < C; ++c) into.key[c] = at(1, c, token), into.value[c] = at(2, c, token);
  }

  __device__ void read_grad(int q, SharedQuery& into) const {
    const float inverse = statistics[count + q];
    into.greatest = statistics[q];
    into.offset = 0;
#pragma unroll
    for (int c = 0; c < C; ++c) {
      const long long place = (long long)c * tokens + start + q * step;
      into.grad[c] = grad[place] * inverse;
      into.offset = fmaf(into.grad[c], attended[place], into.offset);
    }
  }
};

__device__ Head head_of(const float* projected, const float* attended, const float* statistics, const float* grad,
                        int heads, int tokens, int start, int step, int count) {
  const long long item = blockIdx.x, numbers = (long long)C * tokens;
  const long long begin = (item / heads * 3 * heads + item % heads) * numbers;
  return {projected + begin, attended + item * numbers, statistics + item * 2 * count, grad + item * numbers,
          heads * numbers,   tokens, start, step, count};
}

// A block for each item (x) and some of its queries (y).
extern "C" __global__ void losa_attention(const float* projected, int heads, int tokens, int start, int step, int count,
                                          float* attended, float* statistics) {
  __shared__ SharedKeyValue tile[TILE];
  const Head head = head_of(projected, attended, statistics, nullptr, heads, tokens, start, step, count);
  const int q = blockIdx.y * blockDim.x + threadIdx.x;
  float query[C] = {}, result[C] = {}, greatest = __int_as_float(0xff800000), total = 0;
  if (q < count) head.read_query(q, LOG2_E * rsqrtf(float(C)), query);
  for (int first = 0; first < tokens; first += TILE) {
    const int last = min(TILE, tokens - first);
    __syncthreads();
    for (int t = threadIdx.x; t < last; t += blockDim.x) head.read_key(first + t, tile[t]);
    __syncthreads();
    float most = greatest;
    for (int t = 0; t < last; ++t) most = fmaxf(most, dot(query, tile[t].key));
    const float shrinkage = exp2f(greatest - most);
    total *= first ? shrinkage : 0;
#pragma unroll
    for (int c = 0; c < C; ++c) result[c] *= first ? shrinkage : 0;
    greatest = most;
#pragma unroll 4
    for (int t = 0; t < last; ++t) {
      const float power = exp2f(dot(query, tile[t].key) - greatest);
      total += power;
#pragma unroll
      for (int c = 0; c < C; ++c) result[c] = fmaf(power, tile[t].value[c], result[c]);
    }
  }
  if (q >= count) return;
  const long long item = blockIdx.x;
  const float inverse = 1 / total;
#pragma unroll
  for (int c = 0; c < C; ++c) attended[(item * C + c) * tokens + start + q * step] = result[c] * inverse;
  statistics[item * 2 * count + q] = greatest;
  statistics[(item * 2 + 1) * count + q] = inverse;
}

__device__ void backward_of_queries(const Head& head, float* grad_projected) {
  __shared__ SharedKeyValue tile[TILE];
  const int q = blockIdx.y * blockDim.x + threadIdx.x;
  SharedQuery mine = {};
  float result[C] = {};
  if (q < head.count) {
    head.read_query(q, LOG2_E * rsqrtf(float(C)), mine.query);
    head.read_grad(q, mine);
  }
  for (int first = 0; first < head.tokens; first += TILE) {
    const int last = min(TILE, head.tokens - first);
    __syncthreads();
    for (int t = threadIdx.x; t < last; t += blockDim.x) head.read_key(first + t, tile[t]);
    __syncthreads();
#pragma unroll 4
    for (int t = 0; t < last; ++t) {
      const float power = exp2f(dot(mine.query, tile[t].key) - mine.greatest);
      const float grad = power * (dot(mine.grad, tile[t].value) - mine.offset);
#pragma unroll
      for (int c = 0; c < C; ++c) result[c] = fmaf(grad, tile[t].key[c], result[c]);
    }
  }
  if (q >= head.count) return;
#pragma unroll
  for (int c = 0; c < C; ++c)
    grad_projected[(long long)c * head.tokens + head.start + q * head.step] = result[c] * rsqrtf(float(C));
}

__device__ void backward_of_keys(const Head& head, float* grad_projected) {
  __shared__ SharedQuery tile[TILE];
  const int token = blockIdx.y * blockDim.x + threadIdx.x;
  KeyValue mine = {}, result = {};
  if (token < head.tokens) head.read_key(token, mine);
  for (int first = 0; first < head.count; first += TILE) {
    const int last = min(TILE, head.count - first);
    __syncthreads();
    for (int t = threadIdx.x; t < last; t += blockDim.x) {
      head.read_query(first + t, LOG2_E * rsqrtf(float(C)), tile[t].query);
      head.read_grad(first + t, tile[t]);
    }
    __syncthreads();
#pragma unroll 4
    for (int t = 0; t < last; ++t) {
      const float power = exp2f(dot(tile[t].query, mine.key) - tile[t].greatest);
      const float grad = power * (dot(tile[t].grad, mine.value) - tile[t].offset);
#pragma unroll
      for (int c = 0; c < C; ++c) {
        result.key[c] = fmaf(grad, tile[t].query[c], result.key[c]);
        result.value[c] = fmaf(power, tile[t].grad[c], result.value[c]);
      }
    }
  }
  if (token >= head.tokens) return;
#pragma unroll
  for (int c = 0; c < C; ++c) {
    const long long place = (long long)c * head.tokens + token;
    grad_projected[head.stride + place] = result.key[c] * LN_2;  // the queries are times log2(e)
    grad_projected[2 * head.stride + place] = result.value[c];
  }
}

// As above, with queries (z = 0) and keys (z = 1). Gradients of queries that are not read are not written.
extern "C" __global__ void losa_attention_backward(const float* projected, int heads, int tokens, int start, int step,
                                                   int count, const float* attended, const float* statistics,
                                                   const float* grad, float* grad_projected) {
  const Head head = head_of(projected, attended, statistics, grad, heads, tokens, start, step, count);
  float* to = grad_projected + (head.projected - projected);
  if (blockIdx.z)
    backward_of_keys(head, to);
  else
    backward_of_queries(head, to);
}
