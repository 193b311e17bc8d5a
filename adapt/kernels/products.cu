// Products of few rows with many, one for each member and image, in float32: they are bound by memory, where libraries
// divide the work as for large matrices. A block for each member and image (x); members and images may share a factor,
// whose stride is zero then. ROWS is defined by whoever compiles, and so is PARTS: columns, or rows, of a thread.

constexpr int WARP = 32;
constexpr int TERMS = 64;
constexpr int PADDED = (ROWS + 3) / 4 * 4;

// result += s f, or result = s f: linear combinations of the rows of f. The strides of s are in numbers; columns of f
// and of the result are contiguous.
extern "C" __global__ void losa_combine(const float* s, long long s_member, long long s_image, long long s_row,
                                        long long s_term, const float* f, long long f_member, long long f_image,
                                        long long f_term, int images, int terms, int columns, int add, float* result) {
  __shared__ __align__(16) float part[TERMS][PADDED];
  const int member = blockIdx.x / images, image = blockIdx.x % images;
  s += member * s_member + image * s_image;
  f += member * f_member + image * f_image;
  const int begin = blockIdx.y * PARTS * blockDim.x + threadIdx.x;
  float sums[PARTS][ROWS] = {};
  for (int first = 0; first < terms; first += TERMS) {
    const int last = min(TERMS, terms - first);
    __syncthreads();
    for (int i = threadIdx.x; i < last * ROWS; i += blockDim.x)
      part[i / ROWS][i % ROWS] = s[i % ROWS * s_row + (first + i / ROWS) * s_term];
    __syncthreads();
#pragma unroll 4
    for (int t = 0; t < last; ++t) {
      const float* row = f + (first + t) * f_term;
#pragma unroll
      for (int p = 0; p < PARTS; ++p) {
        const int column = begin + p * blockDim.x;
        const float value = column < columns ? row[column] : 0;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) sums[p][r] = fmaf(part[t][r], value, sums[p][r]);
      }
    }
  }
  result += (long long)blockIdx.x * ROWS * columns;
#pragma unroll
  for (int p = 0; p < PARTS; ++p) {
    const int column = begin + p * blockDim.x;
    if (column >= columns) continue;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      float& to = result[(long long)r * columns + column];
      to = add ? to + sums[p][r] : sums[p][r];
    }
  }
}

// result = a f^T: inner products of all rows of a with all rows of f. A warp has PARTS rows of f at a time; columns are
// contiguous.
extern "C" __global__ void losa_inner(const float* a, long long a_member, long long a_image, long long a_row,
                                      const float* f, long long f_member, long long f_image, long long f_row,
                                      int images, int others, int columns, float* result) {
  const int member = blockIdx.x / images, image = blockIdx.x % images;
  a += member * a_member + image * a_image;
  f += member * f_member + image * f_image;
  result += (long long)blockIdx.x * ROWS * others;
  const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP * gridDim.y;
  const int warp = blockIdx.y * (blockDim.x / WARP) + threadIdx.x / WARP;
  for (int first = warp * PARTS; first < others; first += warps * PARTS) {
    float sums[PARTS][ROWS] = {};
#pragma unroll 2
    for (int column = lane; column < columns; column += WARP) {
      float values[PARTS];
#pragma unroll
      for (int p = 0; p < PARTS; ++p) values[p] = first + p < others ? f[(first + p) * f_row + column] : 0;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const float weight = a[r * a_row + column];
#pragma unroll
        for (int p = 0; p < PARTS; ++p) sums[p][r] = fmaf(weight, values[p], sums[p][r]);
      }
    }
#pragma unroll
    for (int p = 0; p < PARTS; ++p)
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        float sum = sums[p][r];
#pragma unroll
        for (int other = WARP / 2; other; other /= 2) sum += __shfl_xor_sync(0xffffffff, sum, other);
        if (lane == 0 && first + p < others) result[r * others + first + p] = sum;
      }
  }
}
