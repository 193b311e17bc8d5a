// Linear combinations of many rows, few for each member and image, in float32. They are bound by memory, while libraries
// divide the work as for large matrices. Whoever compiles defines ROWS, those of a result, and COLUMNS, those of a thread.

constexpr int TERMS = 64;
constexpr int AHEAD = 8;  // loads of a thread that are under way at once
constexpr int PADDED = (ROWS + 3) / 4 * 4;

// result = s f, or result += s f. A block for each member and image (x) and some columns (y). Strides are in numbers, and
// zero where images share a factor; columns of f and the whole result are contiguous.
extern "C" __global__ void losa_combine(const float* __restrict__ s, long long s_member, long long s_image,
                                        long long s_row, long long s_term, const float* __restrict__ f,
                                        long long f_member, long long f_image, long long f_term, int images, int terms,
                                        int columns, int add, float* __restrict__ result) {
  __shared__ __align__(16) float part[TERMS][PADDED];
  const int member = blockIdx.x / images, image = blockIdx.x % images;
  s += member * s_member + image * s_image;
  f += member * f_member + image * f_image;
  const int begin = blockIdx.y * COLUMNS * blockDim.x + threadIdx.x;
  float sums[COLUMNS][ROWS] = {};
  for (int first = 0; first < terms; first += TERMS) {
    const int last = min(TERMS, terms - first);
    __syncthreads();
    for (int i = threadIdx.x; i < last * ROWS; i += blockDim.x)
      part[i / ROWS][i % ROWS] = s[i % ROWS * s_row + (first + i / ROWS) * s_term];
    __syncthreads();
    for (int t = 0; t < last; t += AHEAD) {
#pragma unroll
      for (int p = 0; p < COLUMNS; ++p) {
        const int column = begin + p * blockDim.x;
        const float* from = f + (first + t) * f_term + column;
        float values[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i, from += f_term) values[i] = t + i < last && column < columns ? *from : 0;
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
#pragma unroll
          for (int r = 0; r < ROWS; ++r)
            if (t + i < last) sums[p][r] = fmaf(part[t + i][r], values[i], sums[p][r]);
      }
    }
  }
  result += (long long)blockIdx.x * ROWS * columns;
#pragma unroll
  for (int p = 0; p < COLUMNS; ++p) {
    const int column = begin + p * blockDim.x;
    if (column >= columns) continue;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      float& to = result[(long long)r * columns + column];
      to = add ? to + sums[p][r] : sums[p][r];
    }
  }
}
