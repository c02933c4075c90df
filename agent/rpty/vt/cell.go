package vt

import (
	"strconv"
)

// colour is 0 for the default, else one of the palette or a true colour.
type colour uint32

const (
	palette colour = 1 << 24
	rgb     colour = 2 << 24
)

type attribute uint16

const (
	bold attribute = 1 << iota
	faint
	italic
	blink
	rapid
	reverse
	conceal
	strike
	overline
	// underline takes three bits: 0 none, 1 to 5 the styles of SGR 4:n.
	underlineBit
	_
	_
	wide // the left half of a wide character
	tail // its right half
)

const underlineMask = 7 * underlineBit

// sgrOn are the parameters that switch the attributes on, in order of the bits.
var sgrOn = []string{"1", "2", "3", "5", "6", "7", "8", "9", "53"}

// style is how characters look.
type style struct {
	foreground, background, line colour
	attributes                   attribute
	link                         uint16 // into the table of links; 0 is none
}

// cell is one place of the screen. Empty text is a blank.
type cell struct {
	text string
	style
}

// erased is what erasing leaves: the background colour stays.
func (s style) erased() cell { return cell{style: style{background: s.background}} }

// appendSGR writes the sequence that makes s the style from any other, its link
// excepted.
func (s style) appendSGR(to []byte) []byte {
	to = append(to, "\x1b[0"...)
	for bit, parameter := range sgrOn {
		if s.attributes&(1<<bit) != 0 {
			to = append(append(to, ';'), parameter...)
		}
	}
	switch kind := (s.attributes & underlineMask) / underlineBit; kind {
	case 0:
	case 1:
		to = append(to, ";4"...)
	default:
		to = append(to, ";4:"...)
		to = strconv.AppendInt(to, int64(kind), 10)
	}
	to = appendColour(to, s.foreground, 30)
	to = appendColour(to, s.background, 40)
	to = appendColour(to, s.line, 50)
	return append(to, 'm')
}

// appendColour writes a colour for the foreground (30), the background (40) or
// the underline (50).
func appendColour(to []byte, value colour, base int64) []byte {
	number := int64(value & 0xffffff)
	switch {
	case value == 0:
	case value&rgb != 0:
		to = append(to, ';')
		to = strconv.AppendInt(to, base+8, 10)
		to = append(to, ";2"...)
		for shift := 16; shift >= 0; shift -= 8 {
			to = append(to, ';')
			to = strconv.AppendInt(to, number>>shift&0xff, 10)
		}
	case base != 50 && number < 8:
		to = append(to, ';')
		to = strconv.AppendInt(to, base+number, 10)
	case base != 50 && number < 16:
		to = append(to, ';')
		to = strconv.AppendInt(to, base+60+number-8, 10)
	default:
		to = append(to, ';')
		to = strconv.AppendInt(to, base+8, 10)
		to = append(to, ";5;"...)
		to = strconv.AppendInt(to, number, 10)
	}
	return to
}

// sgr changes the style as SGR says.
func (s *style) sgr(all parameters) {
	if all.count == 0 {
		all.count = 1
	}
	for i := 0; i < all.count; i++ {
		value := all.values[i]
		switch {
		case value == 0:
			*s = style{link: s.link}
		case value == 4 && all.more[i]:
			i++
			if kind := all.values[i]; kind <= 5 {
				s.underline(attribute(kind))
			}
		case value == 38 || value == 48 || value == 58:
			i += s.extended(value, all, i)
		default:
			s.simple(value)
		}
		for i < all.count && all.more[i] {
			i++ // what is left of a parameter in parts
		}
	}
}

func (s *style) underline(kind attribute) {
	s.attributes = s.attributes&^underlineMask | kind*underlineBit
}

// extended reads a colour of 38, 48 or 58, and says how many parameters follow
// that belong to it: 5;n, 2;r;g;b, 2:r:g:b, and 2:space:r:g:b.
func (s *style) extended(which int, all parameters, at int) int {
	parts := all.more[at]
	end := all.count
	if parts {
		for end = at + 1; end < all.count && all.more[end-1]; end++ {
		}
	}
	rest := all.values[min(at+1, end):end]
	value, used := colour(0), 0
	switch {
	case len(rest) >= 2 && rest[0] == 5 && rest[1] < 256:
		value, used = palette|colour(rest[1]), 2
	case len(rest) >= 2 && rest[0] == 5:
		return 2
	case len(rest) >= 4 && rest[0] == 2:
		channels := rest[1:4]
		used = 4
		if parts && len(rest) >= 5 {
			channels, used = rest[2:5], 5
		}
		if max(channels[0], channels[1], channels[2]) > 255 {
			return used
		}
		value = rgb | colour(channels[0]<<16|channels[1]<<8|channels[2])
	default:
		return len(rest) // nothing that follows can be told from its pieces
	}
	switch which {
	case 38:
		s.foreground = value
	case 48:
		s.background = value
	case 58:
		s.line = value
	}
	return used
}

func (s *style) simple(value int) {
	set := func(on, off attribute) { s.attributes = s.attributes&^off | on }
	switch {
	case value >= 30 && value <= 37:
		s.foreground = palette | colour(value-30)
	case value >= 40 && value <= 47:
		s.background = palette | colour(value-40)
	case value >= 90 && value <= 97:
		s.foreground = palette | colour(value-90+8)
	case value >= 100 && value <= 107:
		s.background = palette | colour(value-100+8)
	case value >= 1 && value <= 9 && value != 4:
		index := value - 1
		if value > 4 {
			index--
		}
		set(1<<index, 0)
	}
	switch value {
	case 4:
		s.underline(1)
	case 21:
		s.underline(2)
	case 22:
		set(0, bold|faint)
	case 23:
		set(0, italic)
	case 24:
		s.underline(0)
	case 25:
		set(0, blink|rapid)
	case 27:
		set(0, reverse)
	case 28:
		set(0, conceal)
	case 29:
		set(0, strike)
	case 39:
		s.foreground = 0
	case 49:
		s.background = 0
	case 53:
		set(overline, 0)
	case 55:
		set(0, overline)
	case 59:
		s.line = 0
	}
}
