/* The detectors of the ceiling: Page-Hinkley and ADWIN in plain C, with River's alarms.

   Each function takes a detector's state and many values, goes on from where it was, and returns
   how many alarms were raised. A state of zeros is a fresh detector. */

#include <math.h>
#include <stdint.h>
#include <string.h>

/* --- Page-Hinkley ----------------------------------------------------------------------- */

typedef struct {
    double n, mean, rise, lowest, fall, highest;
} PageHinkley;

/* Standardises a column by (centre, scale), cuts it off at +-clip, and tests it. */
int64_t page_hinkley(PageHinkley *state, const double *values, int64_t count, double centre,
                     double scale, double clip, double delta, double threshold, int up, int down) {
    const double alpha = 0.9999, warm = 30.0;
    const double above = up ? threshold : INFINITY, below = down ? threshold : INFINITY;
    double n = state->n, mean = state->mean, rise = state->rise, lowest = state->lowest;
    double fall = state->fall, highest = state->highest;
    int64_t alarms = 0;
    for (int64_t at = 0; at < count; at++) {
        double value = (values[at] - centre) / scale;
        value = value > clip ? clip : value < -clip ? -clip : value;
        if (n == 0.0) mean = rise = fall = 0.0, lowest = INFINITY, highest = -1.0;
        n += 1.0;
        mean += (1.0 / n) * (value - mean);
        double deviation = value - mean;
        rise = alpha * rise + deviation - delta;
        fall = alpha * fall + deviation + delta;
        lowest = rise < lowest ? rise : lowest;
        highest = fall > highest ? fall : highest;
        if (rise - lowest > above || highest - fall > below) {
            if (n >= warm) n = 0.0, alarms++;
        }
    }
    *state = (PageHinkley){n, mean, rise, lowest, fall, highest};
    return alarms;
}

/* --- ADWIN ------------------------------------------------------------------------------ */

#define LEVELS 40      /* a bucket of level i sums up 2^i values */
#define BUCKETS_MAX 5  /* of one level; one more, and the two oldest are joined */
#define PIECE_MIN 5.0  /* a part of the window with fewer values is not judged */
#define GRACE 10.0
#define CLOCK 32

typedef struct {
    double sum[LEVELS][BUCKETS_MAX + 1], spread[LEVELS][BUCKETS_MAX + 1];
    int64_t held[LEVELS];
    int64_t levels, tick;
    double width, total, variance;
} Adwin;

static void drop(Adwin *a, int64_t level, int64_t count) {
    size_t rest = (size_t)(a->held[level] - count);
    memmove(a->sum[level], a->sum[level] + count, rest * sizeof(double));
    memmove(a->spread[level], a->spread[level] + count, rest * sizeof(double));
    a->held[level] -= count;
}

static void insert(Adwin *a, double value) {
    if (a->levels == 0) a->levels = 1;
    a->sum[0][a->held[0]] = value;
    a->spread[0][a->held[0]++] = 0.0;
    a->width += 1.0;
    if (a->width > 1.0) {
        double off = value - a->total / (a->width - 1.0);
        a->variance += (a->width - 1.0) * off * off / a->width;
    }
    a->total += value;
    double size = 1.0;
    for (int64_t level = 0; a->held[level] > BUCKETS_MAX && level + 1 < LEVELS; level++) {
        double *sum = a->sum[level], *spread = a->spread[level];
        double gap = sum[0] / size - sum[1] / size;
        if (level + 1 == a->levels) a->levels++;
        int64_t place = a->held[level + 1]++;
        a->sum[level + 1][place] = sum[0] + sum[1];
        a->spread[level + 1][place] = spread[0] + spread[1] + size * 0.5 * gap * gap;
        drop(a, level, 2);
        size *= 2.0;
    }
}

static void drop_oldest(Adwin *a) {
    int64_t level = a->levels - 1;
    double size = (double)(1LL << level), sum = a->sum[level][0], spread = a->spread[level][0];
    a->width -= size;
    a->total -= sum;
    double gap = sum / size - a->total / a->width;
    a->variance -= spread + size * a->width * gap * gap / (size + a->width);
    drop(a, level, 1);
    if (a->held[level] == 0) a->levels--;
}

/* Says whether some cut leaves two parts whose means differ too much. */
static int differs(const Adwin *a, double delta) {
    double n0 = 0.0, n1 = a->width, u0 = 0.0, u1 = a->total;
    double confidence = log(2.0 * log(a->width) / delta);
    double variance = a->variance / a->width;
    for (int64_t level = a->levels - 1; level >= 0; level--) {
        double size = (double)(1LL << level);
        for (int64_t at = 0; at < a->held[level]; at++) {
            n0 += size, n1 -= size;
            u0 += a->sum[level][at], u1 -= a->sum[level][at];
            if (level == 0 && at == a->held[0] - 1) return 0;
            if (n0 < PIECE_MIN || n1 < PIECE_MIN) continue;
            double few = 1.0 / (n0 - PIECE_MIN + 1.0) + 1.0 / (n1 - PIECE_MIN + 1.0);
            double bound = sqrt(2.0 * few * variance * confidence) + 2.0 / 3.0 * confidence * few;
            if (fabs(u0 / n0 - u1 / n1) > bound) return 1;
        }
    }
    return 0;
}

int64_t adwin(Adwin *state, const double *values, int64_t count, double delta) {
    int64_t alarms = 0;
    for (int64_t at = 0; at < count; at++) {
        insert(state, values[at]);
        if (++state->tick % CLOCK || state->width <= GRACE) continue;
        int fired = 0;
        while (differs(state, delta)) drop_oldest(state), fired = 1;
        if (fired) memset(state, 0, sizeof *state), alarms++;
    }
    return alarms;
}

int64_t adwin_size(void) { return (int64_t)sizeof(Adwin); }
