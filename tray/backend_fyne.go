//go:build linux || windows

package tray

import (
	"context"

	"fyne.io/systray"
)

// menu is the backend on fyne.io/systray. What that library does not do shapes
// the model: items can only be appended, separators not be hidden, and an
// update of an item that is hidden shows it (on Windows).
type menu struct {
	items map[string]*menuItem
	theme string
	click func(key string)
}

type menuItem struct {
	handle *systray.MenuItem
	told   item // what the library was last told
}

// show runs the app behind an icon.
func show(ctx context.Context, a *app, d *surroundings, theme string) error {
	ended := make(chan error, 1)
	b := &menu{items: map[string]*menuItem{}, theme: theme, click: func(key string) {
		a.post(ctx, func() { a.click(ctx, key) })
	}}
	b.prepare(build(a.in))
	systray.Run(func() {
		// The library answers questions about the menu when this returns.
		drawn := make(chan struct{})
		go func() {
			ended <- a.run(ctx, b)
			systray.Quit()
		}()
		go a.post(ctx, func() { close(drawn) })
		select {
		case <-drawn:
		case <-ctx.Done():
		}
		go d.watchHost(ctx, func() { a.post(ctx, func() { b.again(a) }) })
		go opened(ctx, a)
	}, nil)
	return <-ended
}

// opened asks for news whenever the menu opens.
func opened(ctx context.Context, a *app) {
	for {
		select {
		case <-systray.TrayOpenedCh:
			a.post(ctx, func() { a.opened(ctx) })
		case <-ctx.Done():
			return
		}
	}
}

// again repeats what the library forgets when it is told before it is ready.
func (m *menu) again(a *app) {
	m.setIcon(a.icon)
	m.setTooltip(a.tooltip)
}

func (m *menu) setIcon(i icon) { systray.SetIcon(iconFile(i, m.theme)) }

func (m *menu) setTooltip(text string) { systray.SetTooltip(text) }

func (m *menu) apply(changes []change) {
	// What is hidden from the start is hidden when it has its children: on Windows
	// an item that is hidden cannot become a submenu.
	var hide []*menuItem
	for _, c := range changes {
		if c.add {
			if added := m.add(c); added != nil && c.item.hidden {
				hide = append(hide, added)
			}
			continue
		}
		if found := m.items[c.item.key]; found != nil {
			found.update(c.item)
		}
	}
	for _, hidden := range hide {
		hidden.handle.Hide()
	}
}

func (m *menu) add(c change) *menuItem {
	parent := m.items[c.parent]
	title := mnemonic(c.item.label)
	var handle *systray.MenuItem
	switch {
	case c.item.separator && parent == nil:
		systray.AddSeparator()
		return nil
	case c.item.separator:
		parent.handle.AddSeparator()
		return nil
	case parent == nil && c.item.checkable:
		handle = systray.AddMenuItemCheckbox(title, "", c.item.checked)
	case parent == nil:
		handle = systray.AddMenuItem(title, "")
	case c.item.checkable:
		handle = parent.handle.AddSubMenuItemCheckbox(title, "", c.item.checked)
	default:
		handle = parent.handle.AddSubMenuItem(title, "")
	}
	added := &menuItem{handle: handle, told: c.item}
	added.told.mark, added.told.disabled = markNone, false
	m.items[c.item.key] = added
	added.look(c.item)
	key := c.item.key
	go func() {
		// A click that nobody waits for is dropped by the library.
		for range handle.ClickedCh {
			m.click(key)
		}
	}()
	return added
}

// update changes what differs. While it is hidden nothing is told but that.
func (i *menuItem) update(next item) {
	switch {
	case next.hidden && i.told.hidden:
		return
	case next.hidden:
		i.handle.Hide()
		i.told.hidden = true
		return
	}
	if i.told.label != next.label {
		i.told.label = next.label
		i.handle.SetTitle(mnemonic(next.label))
	}
	if i.told.checked != next.checked {
		i.told.checked = next.checked
		if next.checked {
			i.handle.Check()
		} else {
			i.handle.Uncheck()
		}
	}
	i.look(next)
	if i.told.hidden {
		i.told.hidden = false
		i.handle.Show()
	}
}

func (i *menuItem) look(next item) {
	if i.told.disabled != next.disabled {
		i.told.disabled = next.disabled
		if next.disabled {
			i.handle.Disable()
		} else {
			i.handle.Enable()
		}
	}
	if i.told.mark != next.mark && next.mark != markNone {
		i.told.mark = next.mark
		i.handle.SetIcon(markFile(next.mark))
	}
}
