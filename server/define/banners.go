package define

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/causewayhq/causeway/server/store"
)

const (
	// BannerCount bounds the deployment's banners: each login shell prints them all.
	BannerCount = 10
	// BannerLimit bounds the text of one, in bytes.
	BannerLimit = 4096
)

var bannerColor = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

// BannerError is a banner that cannot be set.
type BannerError struct{ Found, Want string }

func (e *BannerError) Error() string {
	return fmt.Sprintf("set banner: found %s, want %s", e.Found, e.Want)
}

// CheckBanners says whether the banners can be set; the error is a *BannerError,
// for the banner of that index.
func CheckBanners(banners []store.Banner) (int, error) {
	for i, banner := range banners {
		// Terminals act on what cannot be printed.
		unprintable := func(char rune) bool { return char != '\n' && !unicode.IsPrint(char) }
		switch {
		case i >= BannerCount:
			return i, &BannerError{fmt.Sprintf("%d banners", len(banners)), fmt.Sprintf("at most %d", BannerCount)}
		case strings.TrimSpace(banner.Message) == "" && banner.Enabled:
			return i, &BannerError{"an empty message", "a text"}
		case len(banner.Message) > BannerLimit:
			return i, &BannerError{fmt.Sprintf("%d bytes", len(banner.Message)), fmt.Sprintf("at most %d", BannerLimit)}
		case !utf8.ValidString(banner.Message), strings.ContainsFunc(banner.Message, unprintable):
			return i, &BannerError{"a character that cannot be printed in " + quote(banner.Message), "plain text"}
		case banner.BackgroundColor != "" && !bannerColor.MatchString(banner.BackgroundColor):
			return i, &BannerError{"the color " + quote(banner.BackgroundColor), "# and six hexadecimal digits, as in #004852"}
		}
	}
	return 0, nil
}
