package webterm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is one tab of a headless Chromium, and what it complains of.
type browser struct {
	*world
	ctx   context.Context
	heard chan struct{} // closed when there is nothing more to hear

	mu         sync.Mutex
	complaints []string
}

func (w *world) browser() *browser {
	w.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.WindowSize(1000, 700), chromedp.UserDataDir(filepath.Join(w.dir, "profile")),
		chromedp.Flag("disable-background-networking", true))
	if os.Geteuid() == 0 {
		// Chromium's sandbox cannot be made by root; the pages here are our own.
		options = append(options, chromedp.NoSandbox)
	}
	allocated, endAllocator := chromedp.NewExecAllocator(context.WithoutCancel(w.Context()), options...)
	tab, endTab := chromedp.NewContext(allocated)
	b := &browser{world: w, ctx: tab, heard: make(chan struct{})}
	w.Cleanup(func() {
		if w.Failed() {
			b.mu.Lock()
			w.Logf("complaints: %q", b.complaints)
			b.mu.Unlock()
			b.picture(filepath.Join(os.TempDir(), "webterm-failed.png"))
		}
		endTab()
		endAllocator()
		<-b.heard
	})
	if err := chromedp.Do(tab); err != nil { // without a limit: its context is the browser's
		w.Fatalf("start the browser: %v", err)
	}
	messages := chromedp.Console(tab)
	go b.note(messages)
	return b
}

// note keeps what a developer would see: words and errors of scripts, and
// whatever the browser refuses, the policy of the page among it.
func (b *browser) note(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	defer close(b.heard)
	for message, err := range messages {
		if err != nil {
			return
		}
		b.mu.Lock()
		b.complaints = append(b.complaints, message.Source+" "+message.String()+" "+message.URL)
		b.mu.Unlock()
	}
}

// unheard are the complaints beside those that name one of the causes.
func (b *browser) unheard(causes ...string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
next:
	for _, said := range b.complaints {
		for _, cause := range causes {
			if strings.Contains(said, cause) {
				continue next
			}
		}
		found = append(found, said)
	}
	return found
}

func (b *browser) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.Fatalf("%s: %v; the page shows:\n%s", what, err, b.text("body"))
	}
}

// text is what an element shows, "" when there is none.
func (b *browser) text(selector string) string {
	text := evaluate[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
	return strings.ReplaceAll(text, "\u00a0", " ")
}

// evaluate asks the page. While it is being left there is nothing to ask: whoever
// needs an answer asks again.
func evaluate[T any](b *browser, script string) T {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, _ := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	return value
}

func (b *browser) until(what string, holds func() bool) {
	b.Helper()
	b.within(patience, what, holds)
}

func (b *browser) within(limit time.Duration, what string, holds func() bool) {
	b.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not within %s: %s; the page at %s shows:\n%s", limit, what, b.location(), b.text("body"))
		}
	}
}

func (b *browser) location() string { return evaluate[string](b, "location.href") }

func (b *browser) state() string { return evaluate[string](b, "document.body.dataset.state ?? ''") }

// isOpen waits for the terminal to be connected.
func (b *browser) isOpen() {
	b.Helper()
	b.until("the terminal is connected", func() bool { return b.state() == "open" })
}

// types presses the keys of a text. A key is one event with its text, as a
// keyboard's is: chromedp sends the text as an event of its own, which comes also
// where a page has taken the key.
func (b *browser) types(text string) {
	b.Helper()
	for _, char := range text {
		var pressed string
		for _, event := range kb.Encode(char) {
			if event.Type == input.DispatchKeyEventTypeChar {
				pressed = event.Text
			}
		}
		for _, event := range kb.Encode(char) {
			switch event.Type {
			case input.DispatchKeyEventTypeChar:
				continue
			case input.DispatchKeyEventTypeKeyUp:
			default:
				event.Type, event.Text = input.DispatchKeyEventTypeKeyDown, pressed
			}
			if _, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, *event); err != nil {
				b.Fatalf("type %q: %v", char, err)
			}
		}
	}
}

// runs types a command and waits for a line that it prints.
func (b *browser) runs(command, line string) {
	b.Helper()
	b.types(command + "\r")
	b.shows(line)
}

// shows waits for a line on the terminal's screen.
func (b *browser) shows(line string) {
	b.Helper()
	b.until(fmt.Sprintf("the terminal shows %q", line), func() bool {
		for shown := range strings.Lines(b.text(".xterm-rows")) {
			if strings.TrimSpace(shown) == line {
				return true
			}
		}
		return false
	})
}

// signIn fills in the form that is shown.
func (b *browser) signIn() {
	b.Helper()
	name, secret := chromedp.CSS("#username"), chromedp.CSS("#password")
	b.do("sign in", chromedp.WaitVisible(name), chromedp.SendKeys(name, "alice"), chromedp.SendKeys(secret, password+"\r"))
}

func (b *browser) resize(width, height int64) {
	b.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
	if err != nil {
		b.Fatal(err)
	}
}

func (b *browser) scheme(name string) {
	b.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	if err != nil {
		b.Fatal(err)
	}
}

// picture is for people.
func (b *browser) picture(path string) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	image, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(path, image, 0o644)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		b.Logf("no picture: %v", err)
	}
}

// shot takes a picture for the documentation, if that is wished for.
func (b *browser) shot(name string) {
	if dir := os.Getenv("CAUSEWAY_SCREENSHOTS"); dir != "" {
		b.picture(filepath.Join(dir, name))
	}
}
