package tray

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"image"
	"image/draw"
	"image/png"
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/causewayhq/causeway/packaging/icons"
)

// notify speaks the Desktop Notifications Specification 1.2.
func (s *surroundings) notify(ctx context.Context, topic string, n note) error {
	ctx, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	service := s.bus.Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.markup == nil {
		var can []string
		if err := service.CallWithContext(ctx, "org.freedesktop.Notifications.GetCapabilities", 0).Store(&can); err != nil {
			return fmt.Errorf("notify: %w", err)
		}
		markup := slices.Contains(can, "body-markup")
		s.markup = &markup
	}
	text := n.text
	if *s.markup {
		text = html.EscapeString(text)
	}
	urgency := byte(1)
	if n.urgent {
		urgency = 2
	}
	hints := map[string]dbus.Variant{"urgency": dbus.MakeVariant(urgency), "desktop-entry": dbus.MakeVariant("causeway-tray")}
	if picture, err := imageData(icons.File(string(n.icon) + "-auto-44.png")); err == nil {
		hints["image-data"] = dbus.MakeVariant(picture)
	}
	var id uint32
	err := service.CallWithContext(ctx, "org.freedesktop.Notifications.Notify", 0,
		"Causeway", s.notes[topic], "causeway-tray", n.title, text, []string{}, hints, int32(-1)).Store(&id)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	s.notes[topic] = id
	return nil
}

// rawImage is what the hint image-data holds.
type rawImage struct {
	Width, Height, Stride int32
	Alpha                 bool
	Bits, Channels        int32
	Pixels                []byte
}

func imageData(file []byte) (rawImage, error) {
	picture, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return rawImage{}, fmt.Errorf("decode icon: %w", err)
	}
	bounds := picture.Bounds()
	plain := image.NewNRGBA(image.Rect(0, 0, bounds.Dx(), bounds.Dy()))
	draw.Draw(plain, plain.Bounds(), picture, bounds.Min, draw.Src)
	return rawImage{int32(bounds.Dx()), int32(bounds.Dy()), int32(plain.Stride), true, 8, 4, plain.Pix}, nil
}
