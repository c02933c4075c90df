package tray

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strings"

	"fyne.io/systray"

	"github.com/causewayhq/causeway/packaging/icons"
)

// prepare tells what hosts ask first, before they can: the library would lose a
// picture that is set while it registers.
func (m *menu) prepare(first model) {
	systray.SetTitle("Causeway")
	systray.SetTooltip(first.tooltip)
	m.setIcon(first.icon)
}

// iconFile is the larger picture: hosts scale down well and up badly.
func iconFile(i icon, theme string) []byte {
	return append([]byte(straightMagic), icons.File(string(i)+"-"+theme+"-44.png")...)
}

// Hosts want colours that are not multiplied by their opacity. The library sends
// the low byte of what an image says its multiplied colours are, which for a PNG
// is noise wherever it is translucent: at every edge. So the pictures have a
// format of their own, which is a PNG whose colours claim to be opaque ones.
const straightMagic = "causeway straight PNG\n"

func init() {
	image.RegisterFormat("straight", straightMagic, decodeStraight, func(r io.Reader) (image.Config, error) {
		picture, err := decodeStraight(r)
		if err != nil {
			return image.Config{}, err
		}
		return image.Config{ColorModel: picture.ColorModel(), Width: picture.Bounds().Dx(), Height: picture.Bounds().Dy()}, nil
	})
}

func decodeStraight(r io.Reader) (image.Image, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read icon: %w", err)
	}
	picture, err := png.Decode(bytes.NewReader(data[len(straightMagic):]))
	if err != nil {
		return nil, fmt.Errorf("decode icon: %w", err)
	}
	return straight{picture}, nil
}

// straight is a picture whose colours are not multiplied by their opacity.
type straight struct{ image.Image }

func (s straight) At(x, y int) color.Color {
	plain, _ := color.NRGBAModel.Convert(s.Image.At(x, y)).(color.NRGBA)
	return straightColour(plain)
}

type straightColour color.NRGBA

// RGBA has each byte twice, as an opaque colour has.
func (c straightColour) RGBA() (r, g, b, a uint32) {
	return uint32(c.R) * 0x101, uint32(c.G) * 0x101, uint32(c.B) * 0x101, uint32(c.A) * 0x101
}

func markFile(m mark) []byte { return icons.File(string(m) + ".png") }

// mnemonic keeps underscores from being taken for marks of access keys.
func mnemonic(label string) string { return strings.ReplaceAll(label, "_", "__") }
