package api

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestTerminalGivesSigns: a page's terminal sends its agent empty values, by which
// it hears that the agent's side has gone; what others send is left as it is.
func TestTerminalGivesSigns(t *testing.T) {
	for query, signs := range map[string]bool{"&flow=1": true, "": false} {
		t.Run(fmt.Sprint(signs), func(t *testing.T) {
			got := make(chan string, 1<<10)
			p := newPTYRig(t, func(_ uint16, conn net.Conn) {
				if _, err := readInit(conn); err != nil {
					return
				}
				decoder := json.NewDecoder(conn)
				for {
					var value json.RawMessage
					if decoder.Decode(&value) != nil {
						return
					}
					got <- string(value)
				}
			})
			p.api.signs = time.Millisecond
			conn, _, err := p.dial(p.path+query, p.alice.token)
			if err != nil {
				t.Fatal(err)
			}
			if signs {
				for range 3 {
					if value := <-got; value != "{}" {
						t.Errorf("without a key %s", value)
					}
				}
			}
			var typed []string
			for i := range 2000 {
				text := fmt.Sprintf(`{"data":"%d"}`, i)
				if err := conn.Write(t.Context(), websocket.MessageBinary, []byte(text)); err != nil {
					t.Fatal(err)
				}
				for value := "{}"; value != text; {
					if value = <-got; value == "{}" && signs {
						continue
					}
					typed = append(typed, value)
					if value != text {
						t.Fatalf("%s, want %s", value, text)
					}
				}
			}
			if len(typed) != 2000 || !slices.Contains(typed, `{"data":"1999"}`) {
				t.Errorf("%d values", len(typed))
			}
			conn.CloseNow()
		})
	}
}
