package icons

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"testing"
)

var states = []string{"connected", "connecting", "degraded", "off", "error"}

func decode(t *testing.T, name string) image.Image {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(File(name)))
	if err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
	return picture
}

func TestEveryIconIsThere(t *testing.T) {
	for _, state := range states {
		for _, theme := range []string{"auto", "dark", "light"} {
			for _, size := range []int{22, 44} {
				wantSize(t, fmt.Sprintf("%s-%s-%d.png", state, theme, size), size)
			}
			wantICO(t, fmt.Sprintf("%s-%s.ico", state, theme), 16, 24, 32)
		}
		wantSize(t, state+"-template-36.png", 36)
	}
	for _, mark := range append([]string{"good", "slow", "lost", "idle", "stopped"}, states...) {
		wantSize(t, "mark-"+mark+".png", 16)
		wantICO(t, "mark-"+mark+".ico", 16, 24, 32)
	}
	wantSize(t, "causeway-tray-48.png", 48)
	wantSize(t, "causeway-tray-128.png", 128)
	wantICO(t, "causeway-tray.ico", 16, 24, 32, 48)
}

func wantSize(t *testing.T, name string, size int) {
	t.Helper()
	if got := decode(t, name).Bounds(); got.Dx() != size || got.Dy() != size {
		t.Errorf("%s is %v, want %dx%d", name, got, size, size)
	}
}

// wantICO reads the directory of an .ico file.
func wantICO(t *testing.T, name string, sizes ...int) {
	t.Helper()
	data := File(name)
	if len(data) < 6 || binary.LittleEndian.Uint16(data[2:]) != 1 || int(binary.LittleEndian.Uint16(data[4:])) != len(sizes) {
		t.Errorf("%s: %d bytes, not an icon of %d sizes", name, len(data), len(sizes))
		return
	}
	for i, size := range sizes {
		entry := data[6+16*i:]
		length, offset := binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:])
		if int(entry[0]) != size || int(entry[1]) != size || int(offset+length) > len(data) {
			t.Errorf("%s: entry %d is %dx%d at %d+%d", name, i, entry[0], entry[1], offset, length)
		}
	}
}

// luminance is the relative luminance of WCAG 2.1.
func luminance(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	linear := func(v uint32) float64 {
		s := float64(v) / 0xffff
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
}

// contrast is the contrast ratio of WCAG 2.1.
func contrast(a, b color.Color) float64 {
	la, lb := luminance(a), luminance(b)
	return (math.Max(la, lb) + 0.05) / (math.Min(la, lb) + 0.05)
}

// The panels that the icons are held against, from the brightest to the darkest
// that desktops have by default.
var (
	white    = color.RGBA{0xff, 0xff, 0xff, 0xff}
	light    = color.RGBA{0xe8, 0xe8, 0xe7, 0xff}
	dark     = color.RGBA{0x2b, 0x2b, 0x2b, 0xff}
	black    = color.RGBA{0x00, 0x00, 0x00, 0xff}
	panelsOf = map[string][]color.Color{"auto": {white, dark, black}, "dark": {dark, black}, "light": {white, light}}
	// WCAG 2.1 asks 3:1 of pictures (1.4.11) and 4.5:1 of text (1.4.3). A picture
	// for any panel cannot have more; one for a known panel has what text has.
	wanted = map[string]float64{"auto": 3, "dark": 4.5, "light": 4.5}
)

// solid is the colour of the opaque pixels, which is one in each icon, and how
// many there are.
func solid(picture image.Image) (colour color.Color, pixels int) {
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			if c := picture.At(x, y); opaque(c) {
				colour = c
				pixels++
			}
		}
	}
	return colour, pixels
}

func opaque(c color.Color) bool {
	_, _, _, a := c.RGBA()
	return a > 0xf000
}

func TestIconsStandOutFromPanels(t *testing.T) {
	for theme, panels := range panelsOf {
		for _, state := range states {
			name := fmt.Sprintf("%s-%s-22.png", state, theme)
			colour, pixels := solid(decode(t, name))
			// A tenth of the picture is a line of two pixels across it: less is not seen.
			if pixels < 22*22/10 {
				t.Errorf("%s: %d solid pixels", name, pixels)
				continue
			}
			for _, panel := range panels {
				if got := contrast(colour, panel); got < wanted[theme] {
					t.Errorf("%s: contrast %.2f with %v, want %.1f", name, got, panel, wanted[theme])
				}
			}
		}
	}
}

// TestIconsDifferByShape holds for eyes that do not tell colours apart: any two
// states differ in a fifth of the pixels that either has.
func TestIconsDifferByShape(t *testing.T) {
	for i, a := range states {
		for _, b := range states[i+1:] {
			first, second := decode(t, a+"-template-36.png"), decode(t, b+"-template-36.png")
			either, differ := 0, 0
			for y := range 36 {
				for x := range 36 {
					inA, inB := opaque(first.At(x, y)), opaque(second.At(x, y))
					if inA || inB {
						either++
					}
					if inA != inB {
						differ++
					}
				}
			}
			if differ*5 < either {
				t.Errorf("%s and %s differ in %d of %d pixels only", a, b, differ, either)
			}
		}
	}
}
