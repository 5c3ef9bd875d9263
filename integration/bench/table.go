package main

import (
	"strings"
	"unicode/utf8"
)

// alignTable sets rows of cells in columns: the first ones flush left, all
// others flush right. Every row has as many cells as the first.
func alignTable(rows [][]string, left int) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case i == 0:
				line.WriteString(cell + padding)
			case i < left:
				line.WriteString("  " + cell + padding)
			default:
				line.WriteString("  " + padding + cell)
			}
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return text.String()
}
