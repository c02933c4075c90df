package webterm

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestTerminalInABrowser is a working day in a browser.
func TestTerminalInABrowser(t *testing.T) {
	all := wanted(t)
	w := newWorld(t)
	b := w.browser()
	began := time.Now()

	step := func(name string, run func()) {
		t.Helper()
		at := time.Now()
		run()
		t.Logf("figure: %s: %s", name, time.Since(at).Round(time.Millisecond))
	}
	terminal := w.url + "/@alice/myws.main/terminal"
	step("sign in, and come to the page that was asked for", func() {
		b.do("open the page", chromedp.Navigate(terminal))
		b.signIn()
		b.until("back at the terminal", func() bool { return strings.HasPrefix(b.location(), terminal+"?reconnect=") })
		b.isOpen()
	})
	step("type and read", func() {
		b.runs("PS1='$ '; clear; echo $((6*7))-$TERM", "42-xterm-256color")
	})
	address := b.location()
	step("reload, and find the same session", func() {
		b.runs("MARK=stays; echo set", "set")
		b.do("reload", chromedp.Reload())
		b.isOpen()
		b.shows("42-xterm-256color") // what was there is shown again
		b.runs("echo $MARK-here", "stays-here")
		if b.location() != address {
			t.Errorf("the address became %s", b.location())
		}
	})
	if all {
		b.sizes(step)
		b.content(step)
		b.troubles(step, address)
		b.keyboard(step, address)
		b.ending(step, address)
	}
	// A page that asks for what is away hears of it in the console, and so does
	// one that is signed out, or asks for an agent that has gone.
	if left := b.unheard("net::ERR_", "WebSocket connection to", "status of 401", "status of 502"); len(left) > 0 {
		t.Errorf("the browser complains: %q", left)
	}
	if strings.Contains(w.server.log(), "panic") || strings.Contains(w.agent.log(), "panic") {
		t.Error("a program has panicked")
	}
	w.server.stop()
	if state := w.server.command.ProcessState; !state.Success() {
		t.Errorf("with a terminal open the server ended with %s", state)
	}
	t.Logf("figure: all steps: %s", time.Since(began).Round(time.Millisecond))
}

type steps = func(name string, run func())

func (b *browser) sizes(step steps) {
	step("resize", func() {
		for _, size := range [][2]int64{{700, 500}, {1300, 900}, {1000, 700}} {
			b.resize(size[0], size[1])
			b.until("the shell has the size of the page", func() bool {
				b.types("clear; stty size\r")
				before := time.Now()
				for time.Since(before) < time.Second {
					rows := evaluate[int](b, "document.querySelectorAll('.xterm-rows > div').length")
					var lines, columns int
					first, _, _ := strings.Cut(strings.TrimSpace(b.text(".xterm-rows")), "\n")
					if n, _ := fmt.Sscanf(first, "%d %d", &lines, &columns); n == 2 && lines == rows && columns > 20 {
						return true
					}
					time.Sleep(50 * time.Millisecond)
				}
				return false
			})
		}
	})
}

func (b *browser) content(step steps) {
	step("paste 20,000 characters", func() {
		var text strings.Builder
		for i := range 400 {
			fmt.Fprintf(&text, "%-48d\u00fc\n", i)
		}
		into := b.dir + "/pasted"
		b.types("stty -echo; cat > " + into + "; stty echo; echo pasted\r")
		b.until("cat waits", func() bool { _, err := os.Stat(into); return err == nil })
		if !evaluate[bool](b, fmt.Sprintf(`(() => {
			const data = new DataTransfer(); data.setData("text/plain", %q);
			document.activeElement.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
			return true;
		})()`, text.String())) {
			b.Fatal("not pasted")
		}
		b.until("all is there", func() bool {
			got, _ := os.ReadFile(into)
			return len(got) >= text.Len()
		})
		b.do("end the input", chromedp.KeyEvent("d", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
		b.shows("pasted")
		got, err := os.ReadFile(into)
		// A terminal in the browser pastes in brackets only where the program asked for it.
		if err != nil || sha256.Sum256(got) != sha256.Sum256([]byte(text.String())) {
			b.Errorf("%d bytes came of %d, %v", len(got), text.Len(), err)
		}
	})
	step("2 MB of output, and still there", func() {
		b.runs("yes | head -c 2000000; echo flood-over", "flood-over")
	})
	step("colours, dark and light, within the policy", func() {
		b.runs(`mkdir -p demo/bin demo/src; touch demo/README.md; install -m 755 /dev/null demo/build.sh; clear; printf '\033[38;2;255;120;0mtrue colour\033[0m \033[1;4;31mbold\033[0m \033[7minverse\033[0m\n'; ls --color=always demo; echo coloured`, "coloured")
		background := func() string { return evaluate[string](b, "getComputedStyle(document.body).backgroundColor") }
		b.scheme("light")
		light := background()
		b.shot("webterm.png")
		b.scheme("dark")
		b.until("dark", func() bool { return background() != light })
		b.shot("webterm-dark.png")
		b.scheme("light")
	})
	step("title of a program, as text", func() {
		b.types(`printf '\033]2;<b>at work</b>\007'` + "\r")
		b.until("the title is set", func() bool {
			return evaluate[string](b, "document.title") == "<b>at work</b> \u2013 Terminal: main.myws"
		})
	})
}

func (b *browser) troubles(step steps, address string) {
	step("connection cut, and back by itself", func() {
		b.runs("clear; echo before-cut", "before-cut")
		b.front.cut()
		b.until("the page has noticed", func() bool { return b.state() != "open" || strings.Contains(b.server.log(), "connection ended") })
		b.isOpen()
		b.runs("echo $MARK-cut", "stays-cut")
	})
	step("server away for 3 s, said, and back by itself", func() {
		b.front.leave()
		b.until("the page says so", func() bool { return strings.Contains(b.text("#message"), "The server cannot be reached") })
		time.Sleep(3 * time.Second)
		b.front.back()
		b.isOpen()
		b.runs("echo $MARK-outage", "stays-outage")
	})
	step("signed out, said, signed in, and the same session", func() {
		b.admin(password+"\n", "user", "password", "alice", "--stdin")
		b.until("the page says so", func() bool { return strings.Contains(b.text("#message"), "signed out") })
		b.do("follow the link", chromedp.Click(chromedp.CSS("#remedy")))
		b.signIn()
		b.until("back at the same session", func() bool { return b.location() == address })
		b.isOpen()
		b.runs("echo $MARK-signed-in", "stays-signed-in")
	})
	step("agent stopped, said, and back by itself with it", func() {
		b.agent.stop()
		b.until("the page says so", func() bool {
			return b.state() == "over" || strings.Contains(b.text("#message"), "The agent is not connected")
		})
		over := b.state() == "over"
		b.startAgent()
		if over {
			// It ended its terminals with a word, so nothing is lost that could come back.
			b.types("\r")
			b.until("a new session", func() bool { return b.location() != address })
		}
		b.isOpen()
		b.runs("echo new-shell$MARK", "new-shell")
	})
	step("agent killed, said, and back by itself with it", func() {
		b.agent.kill()
		b.startAgent()
		// The new process has the keys and not the session of the old, which it renews;
		// then what is typed meets nobody, and TCP is told so.
		b.within(2*patience, "the page is connected with the new agent", func() bool {
			b.types("echo alive-$((40+2))\r")
			return b.state() == "open" && strings.Contains(b.text(".xterm-rows"), "alive-42")
		})
	})
}

// keyboard leaves the terminal and comes back without a pointer.
func (b *browser) keyboard(step steps, address string) {
	step("keyboard alone", func() {
		b.do("open", chromedp.Navigate(address))
		b.isOpen()
		b.do("leave the terminal", chromedp.KeyEvent("e", chromedp.KeyModifiers(chromedp.ModifierCtrl, chromedp.ModifierShift)))
		b.until("the link has the focus", func() bool { return evaluate[string](b, "document.activeElement.id") == "back" })
		b.types("\r")
		b.until("the workspace's page", func() bool { return strings.HasSuffix(b.location(), "/@alice/myws") })
		page := b.text("body")
		for _, want := range []string{"Connected.", "ssh main.myws.me.coder", "Open a terminal"} {
			if !strings.Contains(page, want) {
				b.Errorf("the page does not say %q: %s", want, page)
			}
		}
		b.shot("workspace-page.png")
		b.types(kb.Tab + "\r")
		b.until("a new terminal", func() bool { return strings.Contains(b.location(), "/terminal?reconnect=") && b.location() != address })
		b.isOpen()
	})
}

func (b *browser) ending(step steps, _ string) {
	step("the end of the shell, and a new session", func() {
		here := b.location()
		b.types("exit\r")
		b.until("the page says so", func() bool {
			return b.state() == "over" && strings.Contains(b.text("#message"), "The session has ended")
		})
		b.types("\r")
		b.until("a new session", func() bool { return b.location() != here })
		b.isOpen()
		b.runs("echo $((40+2))-new", "42-new")
	})
}
