// Masks of dropout: what losa.adapt.side_networks.dropout computes by ten operations of torch, in one.

#include <cstdint>

// For each value the factor of dropout: its member's `scale`, or zero if it is dropped. A member has `images` rows of
// `count` values. A value's number is the upper 24 bits of the mixer of splitmix64 (Steele, Lea and Flood, OOPSLA
// 2014), of the member's key and the value's place among those of the batch, which is `start` for the first; it is
// dropped if its number is less than `least_kept`. Rows are those of all members from first to last. Returns 0.
extern "C" int losa_dropout(const int64_t* keys, const int64_t* least_kept, const float* scales, int64_t start,
                            int64_t images, int64_t count, int64_t first, int64_t last, float* factors) {
  for (int64_t row = first; row < last; ++row) {
    const int64_t member = row / images, place = start + row % images * count;
    const uint64_t key = keys[member], least = least_kept[member];
    const float scale = scales[member];
    float* to = factors + row * count;
    for (int64_t value = 0; value < count; ++value) {
      uint64_t bits = key + uint64_t(place + value) * 0x9E3779B97F4A7C15u;
      bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
      bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
      to[value] = (bits >> 40) >= least ? scale : 0.0f;
    }
  }
  return 0;
}
