package config

import (
	"slices"
	"strconv"
	"strings"
)

// nearest returns the candidate that was most likely meant by word, "" when none is near.
func nearest(word string, candidates []string) string {
	best, bestCost := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if cost := typos(strings.ToLower(word), strings.ToLower(c)); cost < bestCost {
			best, bestCost = c, cost
		}
	}
	return best
}

// typos counts the single changes that turn a into b: a byte put in, left out or
// replaced, or two neighbours swapped (optimal string alignment distance).
func typos(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// alternatives names what could stand instead of word: the nearest as a question, or all.
func alternatives(word string, candidates []string) string {
	if near := nearest(word, candidates); near != "" {
		return "did you mean " + strconv.Quote(near) + "?"
	}
	return thereAre(candidates)
}

// thereAre lists all candidates: there are "a", "b" and "c".
func thereAre(candidates []string) string {
	if len(candidates) == 1 {
		return "there is only " + list(candidates)
	}
	return "there are " + list(candidates)
}

// list shows names in their order: "a", "b" and "c".
func list(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	if n := len(quoted); n > 1 {
		return strings.Join(quoted[:n-1], ", ") + " and " + quoted[n-1]
	}
	return strings.Join(quoted, "")
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
