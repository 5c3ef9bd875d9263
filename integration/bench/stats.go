package main

import (
	"cmp"
	"slices"
)

// quantile takes ascending values, at least one.
func quantile[T any](ascending []T, q float64) T {
	return ascending[min(len(ascending)-1, int(q*float64(len(ascending))))]
}

// median is the middle of the values, or the mean of the two in the middle;
// at least one.
func median(values []float64) float64 {
	ascending := slices.Sorted(slices.Values(values))
	middle := len(ascending) / 2
	if len(ascending)%2 == 1 {
		return ascending[middle]
	}
	return (ascending[middle-1] + ascending[middle]) / 2
}

// spread is the median distance of the values from their median, as a part of
// the median: half of the rounds were closer to the figure than this.
func spread(values []float64) float64 {
	middle := median(values)
	if middle == 0 {
		return 0
	}
	distances := make([]float64, len(values))
	for i, v := range values {
		distances[i] = max(v-middle, middle-v) / middle
	}
	return median(distances)
}

func bounds[T cmp.Ordered](values []T) (least, most T) {
	return slices.Min(values), slices.Max(values)
}
