// Masks of dropout on a GPU: dropout.cpp says what they are. A block for each member (y) and some of its values (x).

extern "C" __global__ void losa_dropout(const long long* keys, const long long* least_kept, const float* scales,
                                        long long start, long long count, float* factors) {
  const long long value = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (value >= count) return;
  const int member = blockIdx.y;
  unsigned long long bits = keys[member] + (start + value) * 0x9E3779B97F4A7C15ull;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ull;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBull;
  factors[member * count + value] = (long long)(bits >> 40) >= least_kept[member] ? scales[member] : 0.0f;
}
