package main

import (
	"fmt"
	"slices"
)

// results are the values measured, one per round, by contender and quantity.
type results map[string]map[string][]float64

func (r results) add(contender, quantity string, value float64) {
	of := r[contender]
	if of == nil {
		of = make(map[string][]float64)
		r[contender] = of
	}
	of[quantity] = append(of[quantity], value)
}

// get returns the values of a quantity, none if it was not measured.
func (r results) get(contender, quantity string) spread {
	return spreadOf(r[contender][quantity])
}

// spread is the middle of some values and their ends.
type spread struct {
	count             int
	low, median, high float64
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return spread{n, s[0], (s[(n-1)/2] + s[n/2]) / 2, s[n-1]}
}

// text is the median, and the ends behind it where there is more than one
// value.
func (s spread) text(digits int) string {
	switch s.count {
	case 0:
		return "–"
	case 1:
		return fmt.Sprintf("%.*f", digits, s.median)
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.median, digits, s.low, digits, s.high)
}

// percentile returns the value that p per cent of the values are below, by the
// nearest rank. The values become sorted; there is at least one.
func percentile(values []float64, p float64) float64 {
	slices.Sort(values)
	i := int(p / 100 * float64(len(values)))
	return values[min(i, len(values)-1)]
}
