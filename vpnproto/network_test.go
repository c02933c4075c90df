package vpnproto

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/vpnv1"
)

// TestNetworkSettings: asked of the manager, once for each state.
func TestNetworkSettings(t *testing.T) {
	c := up()
	m := begin(t, Version{1, 0}, silent, c)
	m.start()
	apply := func(want Network) <-chan error {
		result := make(chan error, 1)
		go func() { result <- c.start.Apply(t.Context(), want) }()
		return result
	}
	answer := func(number uint64, response *vpnv1.NetworkSettingsResponse) {
		m.put(&vpnv1.ManagerMessage{Rpc: &vpnv1.RPC{ResponseTo: number}, Msg: &vpnv1.ManagerMessage_NetworkSettings{NetworkSettings: response}})
	}
	result := apply(settings())
	asked := m.read()
	if asked.GetRpc().GetMsgId() != 1 || asked.GetNetworkSettings().GetMtu() != 1280 {
		t.Errorf("%v", asked)
	}
	answer(77, &vpnv1.NetworkSettingsResponse{Success: true}) // nobody's
	answer(1, &vpnv1.NetworkSettingsResponse{ErrorMessage: "not allowed"})
	answer(1, &vpnv1.NetworkSettingsResponse{Success: true}) // a second one
	if err := <-result; err == nil || !strings.HasSuffix(err.Error(), ": not allowed") {
		t.Errorf("%v", err)
	}
	// It failed, and so it is sent again; what is there is not.
	result = apply(settings())
	if asked := m.read(); asked.GetRpc().GetMsgId() != 2 {
		t.Errorf("%v", asked)
	}
	answer(2, &vpnv1.NetworkSettingsResponse{Success: true})
	if err := <-result; err != nil {
		t.Error(err)
	}
	if err := <-apply(settings()); err != nil {
		t.Error(err)
	}
	other := settings()
	other.Suffixes = []string{"other"}
	result = apply(other)
	if asked := m.read(); asked.GetRpc().GetMsgId() != 3 || asked.GetNetworkSettings().GetDnsSettings().GetDomainName() != "other" {
		t.Errorf("%v", asked)
	}
	// Who hangs up answers nothing more.
	m.out.Close()
	if err := <-result; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an unexpected EOF", err)
	}
	if err := <-apply(settings()); err == nil {
		t.Error("settings taken after the end")
	}
}

// TestNetworkSettingsAnew: of the next tunnel the manager is told everything, even
// if it is the same.
func TestNetworkSettingsAnew(t *testing.T) {
	first, second := up(), up()
	m := begin(t, Version{1, 3}, slog.LevelError, first, second)
	for number, c := range []*core{first, second} {
		m.start()
		result := make(chan error, 1)
		go func() { result <- c.start.Apply(t.Context(), settings()) }()
		if asked := m.read(); asked.GetRpc().GetMsgId() != uint64(number+1) || asked.GetNetworkSettings() == nil {
			t.Errorf("tunnel %d: %v", number, asked)
		}
		m.put(&vpnv1.ManagerMessage{
			Rpc: &vpnv1.RPC{ResponseTo: uint64(number + 1)},
			Msg: &vpnv1.ManagerMessage_NetworkSettings{NetworkSettings: &vpnv1.NetworkSettingsResponse{Success: true}},
		})
		if err := <-result; err != nil {
			t.Error(err)
		}
		if c == first {
			c.broke <- errors.New("it broke")
			m.read() // the record of that: it has ended
		}
	}
	m.stop()
}
