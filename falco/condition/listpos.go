package condition

// PositionOf returns where a value of the list starts.
func (e *List) PositionOf(i int) Pos {
	at := e.pos
	if i < len(e.offsets) { // a list that was not parsed has none
		at.Offset = int(e.offsets[i])
	}
	return at
}
