package vt

import "slices"

// Resize changes the size as xterm does: nothing is wrapped anew. Of a screen
// that loses lines, those above the cursor go first.
func (t *Terminal) Resize(columns, rows int) {
	columns, rows = Clamp(columns, rows)
	if columns == t.columns && rows == t.rows {
		return
	}
	current := &t.cursor.y // of the main screen
	if t.alternate {
		current = &t.main.saved.y
		t.other.lines, t.cursor.y = t.cut(t.other.lines, t.cursor.y, columns, rows), min(t.cursor.y, rows-1)
	}
	for _, line := range t.main.lines[:max(0, *current-(rows-1))] {
		t.remember(line)
	}
	t.main.lines, *current = t.cut(t.main.lines, *current, columns, rows), min(*current, rows-1)
	if columns < t.columns {
		t.narrowHistory(columns)
	}
	before := t.columns
	t.columns, t.rows = columns, rows
	t.resetTabs(min(before, columns))
	t.top, t.bottom = 0, rows-1
	t.cursor.x = min(t.cursor.x, columns-1)
	t.wrapping = false
	for _, each := range []*cursor{&t.main.saved, &t.other.saved} {
		each.x, each.y = min(each.x, columns-1), min(each.y, rows-1)
	}
}

// cut gives a screen, with the cursor in line y, another size.
func (t *Terminal) cut(lines [][]cell, y, columns, rows int) [][]cell {
	lines = lines[max(0, y-(rows-1)):]
	result := make([][]cell, rows)
	for i := range result {
		if i < len(lines) {
			result[i] = fit(lines[i], columns)
		} else {
			result[i] = make([]cell, columns)
		}
	}
	return result
}

// fit gives a line a length. Half a wide character does not stay.
func fit(line []cell, columns int) []cell {
	if len(line) >= columns {
		line = slices.Clone(line[:columns])
		if line[columns-1].attributes&wide != 0 {
			line[columns-1] = line[columns-1].erased()
		}
		return line
	}
	return append(slices.Clip(line), make([]cell, columns-len(line))...)
}

// remember adds a line to the history, without the blanks at its end.
func (t *Terminal) remember(line []cell) {
	end := len(line)
	for end > 0 && line[end-1] == (cell{}) {
		end--
	}
	t.history = append(t.history, slices.Clone(line[:end]))
	t.historySize += end
	t.remembered++
	drop := 0
	for len(t.history)-drop > maxHistory || t.historySize > maxHistoryCells {
		t.historySize -= len(t.history[drop])
		t.history[drop] = nil
		drop++
	}
	t.history = t.history[drop:]
}

// narrowHistory breaks lines that no longer fit.
func (t *Terminal) narrowHistory(columns int) {
	lines := t.history
	t.history, t.historySize = nil, 0
	for _, line := range lines {
		for len(line) > columns {
			end := columns
			if line[end-1].attributes&wide != 0 && end > 1 {
				end--
			}
			t.remember(fit(line[:end], end))
			line = line[end:]
			if line[0].attributes&tail != 0 { // of a single column
				line[0] = line[0].erased()
			}
		}
		t.remember(line)
	}
}
