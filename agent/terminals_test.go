package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/rpty/vt"
	"github.com/causewayhq/causeway/proto"
)

// A terminal on port 2 of the tailnet: it is shown and
// ended on port 4.
func TestTerminalsOverTheTailnet(t *testing.T) {
	p := newPlane(t)
	p.startAgent("").wait()
	u := p.newUser()
	addr, client := proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[0], u.client()
	id := uuid.New()
	attach := func(command string) (read func(until string) string, write func(keys string)) {
		conn := u.dial(addr, terminalPort)
		t.Cleanup(func() { conn.Close() })
		request, _ := json.Marshal(map[string]any{"ID": id, "Height": 24, "Width": 80, "Command": command})
		_, err := conn.Write(append(binary.LittleEndian.AppendUint16(nil, uint16(len(request))), request...))
		if err != nil {
			t.Fatal(err)
		}
		screen := vt.New(80, 24)
		return func(until string) string {
				t.Helper()
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				buffer := make([]byte, 4096)
				for until == "" || !strings.Contains(screen.Text(), until) {
					count, err := conn.Read(buffer)
					screen.Feed(buffer[:count])
					if until == "" && errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatalf("%v, on the screen:\n%s", err, screen.Text())
					}
				}
				return screen.Text()
			}, func(keys string) {
				data, _ := json.Marshal(map[string]string{"data": keys})
				if _, err := conn.Write(data); err != nil {
					t.Fatal(err)
				}
			}
	}
	read, write := attach("echo begun; exec cat")
	read("begun")
	write("typed\r")
	read("typed\ntyped")
	again, _ := attach("")
	again("begun\ntyped\ntyped")
	_, list := fetch(t, client, http.MethodGet, addr, "/api/v0/terminals", "")
	if !strings.Contains(list, id.String()) || !strings.Contains(list, `"command":"echo begun; exec cat"`) || !strings.Contains(list, `"viewers":2`) || !strings.Contains(list, `"columns":80,"rows":24`) {
		t.Errorf("list: %s", list)
	}
	if status, text := fetch(t, client, http.MethodDelete, addr, "/api/v0/terminals/"+id.String(), ""); status != http.StatusNoContent {
		t.Errorf("end: %d %s", status, text)
	}
	read("")
	if _, list := fetch(t, client, http.MethodGet, addr, "/api/v0/terminals", ""); strings.Contains(list, id.String()) {
		t.Errorf("it is still there: %s", list)
	}
}
