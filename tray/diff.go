package tray

import "maps"

// change is one thing for the backend to do.
type change struct {
	parent string // key of the item above, "" for the menu itself
	item   item   // without its children
	add    bool   // append it; else it is there and changes in place
	before item   // what it was
}

// shown remembers what the backend has been told.
type shown struct{ items map[string]item }

// diff is what to do so that the menu becomes the model, in order. What the
// model does not name any more is hidden, never removed. An item above comes
// before those below it when added.
func (s *shown) diff(to model) []change {
	if s.items == nil {
		s.items = map[string]item{}
	}
	var changes []change
	gone := maps.Clone(s.items)
	var walk func(parent string, items []item)
	walk = func(parent string, items []item) {
		for _, next := range items {
			children := next.children
			next.children = nil
			before, known := s.items[next.key]
			delete(gone, next.key)
			if !known || !same(before, next) {
				changes = append(changes, change{parent: parent, item: next, add: !known, before: before})
			}
			s.items[next.key] = next
			walk(next.key, children)
		}
	}
	walk("", to.items)
	for key, before := range gone {
		if !before.hidden {
			next := before
			next.hidden = true
			s.items[key] = next
			changes = append(changes, change{item: next, before: before})
		}
	}
	return changes
}

// same says that two forms of an item look alike; what a click does is looked
// up when it comes.
func same(a, b item) bool {
	a.do, b.do = action{}, action{}
	return a.key == b.key && a.label == b.label && a.separator == b.separator && a.checkable == b.checkable &&
		a.checked == b.checked && a.disabled == b.disabled && a.hidden == b.hidden && a.mark == b.mark
}

// action is what a click on the item does now; nothing if it is not to be
// clicked at all.
func (s *shown) action(key string) action {
	found := s.items[key]
	if found.hidden || found.disabled {
		return action{}
	}
	return found.do
}
