package tray

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/ebitengine/purego"
	"github.com/ebitengine/purego/objc"

	"github.com/causewayhq/causeway/packaging/icons"
)

const appKit = "/System/Library/Frameworks/AppKit.framework/AppKit"

// Constants of AppKit.
const (
	accessoryPolicy    = 1  // NSApplicationActivationPolicyAccessory: no icon in the Dock
	variableLength     = -1 // NSVariableStatusItemLength
	applicationDefined = 15 // NSEventTypeApplicationDefined
	iconPoints         = 18 // of the menu bar
	markPoints         = 14 // beside a line
)

// AppKit is for the main thread only, which the main goroutine therefore keeps.
func init() { runtime.LockOSThread() }

type (
	nsSize  struct{ width, height float64 }
	nsPoint struct{ x, y float64 }
)

// menu is the backend on AppKit, without cgo. Everything that touches AppKit
// runs on the main thread: the app hands over functions, the target runs them.
type menu struct {
	target objc.ID // of clicks and of drain
	status objc.ID // the NSStatusItem
	root   objc.ID // its NSMenu

	mu   sync.Mutex
	work []func()

	// What follows belongs to the main thread.
	items map[string]objc.ID // NSMenuItem
	keys  []string           // by tag
	click func(key string)
}

func class(name string) objc.ID { return objc.ID(objc.GetClass(name)) }

func selector(name string) objc.SEL { return objc.RegisterName(name) }

func text(s string) objc.ID { return class("NSString").Send(selector("stringWithUTF8String:"), s) }

// show runs the app behind an icon in the menu bar.
func show(ctx context.Context, a *app, _ *surroundings, _ string) error {
	if _, err := purego.Dlopen(appKit, purego.RTLD_GLOBAL|purego.RTLD_LAZY); err != nil {
		return fmt.Errorf("load AppKit: %w", err)
	}
	b := &menu{items: map[string]objc.ID{}, click: func(key string) {
		go a.post(ctx, func() { a.click(ctx, key) })
	}}
	if err := b.make(); err != nil {
		return err
	}
	application := class("NSApplication").Send(selector("sharedApplication"))
	application.Send(selector("setActivationPolicy:"), accessoryPolicy)
	ended := make(chan error, 1)
	go func() {
		ended <- a.run(ctx, b)
		b.onMain(func() { stop(application) })
	}()
	application.Send(selector("run"))
	return <-ended
}

// stop ends the event loop; it looks at that after the next event only.
func stop(application objc.ID) {
	application.Send(selector("stop:"), objc.ID(0))
	event := class("NSEvent").Send(selector("otherEventWithType:location:modifierFlags:timestamp:windowNumber:context:subtype:data1:data2:"),
		applicationDefined, nsPoint{}, 0, float64(0), 0, objc.ID(0), int16(0), 0, 0)
	application.Send(selector("postEvent:atStart:"), event, true)
}

// make creates the target's class, the status item and its empty menu.
func (m *menu) make() error {
	methods := []objc.MethodDef{
		{Cmd: selector("clicked:"), Fn: func(_ objc.ID, _ objc.SEL, sender objc.ID) {
			if tag := objc.Send[int](sender, selector("tag")); tag >= 0 && tag < len(m.keys) {
				m.click(m.keys[tag])
			}
		}},
		{Cmd: selector("drain"), Fn: func(objc.ID, objc.SEL) { m.drain() }},
	}
	made, err := objc.RegisterClass("CausewayTrayTarget", objc.GetClass("NSObject"), nil, nil, methods)
	if err != nil {
		return fmt.Errorf("register the class of the menu's target: %w", err)
	}
	m.target = objc.ID(made).Send(selector("new"))
	bar := class("NSStatusBar").Send(selector("systemStatusBar"))
	m.status = bar.Send(selector("statusItemWithLength:"), float64(variableLength)).Send(selector("retain"))
	m.root = newMenu()
	m.status.Send(selector("setMenu:"), m.root)
	return nil
}

func newMenu() objc.ID {
	made := class("NSMenu").Send(selector("new"))
	// Else AppKit decides itself which items are enabled.
	made.Send(selector("setAutoenablesItems:"), false)
	return made
}

// onMain has the main thread run a function.
func (m *menu) onMain(f func()) {
	m.mu.Lock()
	m.work = append(m.work, f)
	m.mu.Unlock()
	m.target.Send(selector("performSelectorOnMainThread:withObject:waitUntilDone:"), selector("drain"), objc.ID(0), false)
}

func (m *menu) drain() {
	m.mu.Lock()
	work := m.work
	m.work = nil
	m.mu.Unlock()
	for _, f := range work {
		f()
	}
}

// image makes an NSImage; a template is coloured by the system.
func image(data []byte, points float64, template bool) objc.ID {
	if len(data) == 0 {
		return 0
	}
	bytes := class("NSData").Send(selector("dataWithBytes:length:"), &data[0], len(data))
	made := class("NSImage").Send(selector("alloc")).Send(selector("initWithData:"), bytes)
	made.Send(selector("setSize:"), nsSize{points, points})
	made.Send(selector("setTemplate:"), template)
	return made.Send(selector("autorelease"))
}

func (m *menu) setIcon(i icon) {
	m.onMain(func() {
		m.status.Send(selector("button")).Send(selector("setImage:"), image(icons.File(string(i)+"-template-36.png"), iconPoints, true))
	})
}

func (m *menu) setTooltip(tip string) {
	m.onMain(func() { m.status.Send(selector("button")).Send(selector("setToolTip:"), text(tip)) })
}

func (m *menu) apply(changes []change) {
	m.onMain(func() {
		for _, c := range changes {
			if c.add {
				m.add(c)
			} else {
				m.look(m.items[c.item.key], c.item)
			}
		}
	})
}

func (m *menu) add(c change) {
	parent := m.root
	if above, below := m.items[c.parent]; below {
		parent = above.Send(selector("submenu"))
		if parent == 0 {
			parent = newMenu()
			above.Send(selector("setSubmenu:"), parent)
		}
	}
	if c.item.separator {
		parent.Send(selector("addItem:"), class("NSMenuItem").Send(selector("separatorItem")))
		return
	}
	made := class("NSMenuItem").Send(selector("alloc")).
		Send(selector("initWithTitle:action:keyEquivalent:"), text(c.item.label), selector("clicked:"), text(""))
	made.Send(selector("setTarget:"), m.target)
	made.Send(selector("setTag:"), len(m.keys))
	m.keys = append(m.keys, c.item.key)
	m.items[c.item.key] = made
	m.look(made, c.item)
	parent.Send(selector("addItem:"), made)
}

// look changes an item in place.
func (m *menu) look(handle objc.ID, next item) {
	if handle == 0 {
		return
	}
	handle.Send(selector("setTitle:"), text(next.label))
	handle.Send(selector("setHidden:"), next.hidden)
	handle.Send(selector("setEnabled:"), !next.disabled)
	state := 0
	if next.checked {
		state = 1
	}
	handle.Send(selector("setState:"), state)
	if next.mark != markNone {
		handle.Send(selector("setImage:"), image(icons.File(string(next.mark)+".png"), markPoints, false))
	}
}
