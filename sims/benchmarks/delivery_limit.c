/* What one core can deliver: the rows of the neurons that fired, added to their targets' currents, in plain C.

   Compiled on demand by sims/benchmarks/delivery.py, which calls it on the arrays that the simulator itself reads. Row i
   is begin[i] .. begin[i + 1]. While a row is delivered, the memory of the one `ahead` rows later is asked for (at most
   FAR bytes of each of its two columns), and where that of the one twice as far away begins; ahead = 0: nothing is. */
#include <stdint.h>

#define LINE 64
#define FAR 1024

#define DELIVER(name, index)                                                                                           \
    void name(const uint32_t *source, uint64_t n, const uint32_t *begin, const index *target, const float *weight,     \
              float *current, uint64_t ahead)                                                                          \
    {                                                                                                                  \
        for (uint64_t k = 0; k < n; k++) {                                                                             \
            if (ahead && k + 2 * ahead < n) __builtin_prefetch(begin + source[k + 2 * ahead]);                         \
            if (ahead && k + ahead < n) {                                                                              \
                uint64_t first = begin[source[k + ahead]], last = begin[source[k + ahead] + 1];                        \
                const char *t = (const char *)(target + first), *w = (const char *)(weight + first);                   \
                uint64_t t_size = (last - first) * sizeof *target, w_size = (last - first) * sizeof *weight;           \
                for (uint64_t at = 0; at < t_size && at < FAR; at += LINE) __builtin_prefetch(t + at);                 \
                for (uint64_t at = 0; at < w_size && at < FAR; at += LINE) __builtin_prefetch(w + at);                 \
            }                                                                                                          \
            for (uint64_t j = begin[source[k]], end = begin[source[k] + 1]; j < end; j++)                              \
                current[target[j]] += weight[j];                                                                       \
        }                                                                                                              \
    }

DELIVER(deliver_16, uint16_t)
DELIVER(deliver_32, uint32_t)
