package main

import (
	"fmt"
	"regexp"
	"strconv"
)

// Windows Installer compares three fields, and the third has 16 bits: of those,
// a thousand numbers belong to each patch release.
const (
	perPatch    = 1000
	maxPatch    = 64 // 64,999 fits
	maxMajor    = 255
	released    = 500 // what comes before the release counts below, later commits count on
	perWord     = 100
	maxFollowed = perPatch - released - 1
)

// words are the kinds of what comes before a release, in their order.
var words = map[string]int{"alpha": 0, "beta": 1, "rc": 2}

var (
	releases = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)(?:~([a-z]+)\.?(\d*))?(?:\+(?:(\d+)\.[0-9a-f]+)?\.?(?:dirty)?)?$`)
	commits  = regexp.MustCompile(`^0\.0\.0~git(\d+)\.`)
)

// number makes of 1.2.3~rc.1, 1.2.3 and 1.2.3+4.0123abc what sorts as they do:
// 1.2.3201, 1.2.3500 and 1.2.3504. What two versions share, they may replace each
// other by (Upgrade table).
func number(text string) (string, error) {
	if found := commits.FindStringSubmatch(text); found != nil {
		count, err := strconv.Atoi(found[1])
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("0.0.%d", min(count, perPatch-1)), nil // before 0.0.1
	}
	found := releases.FindStringSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("number %q: neither a release, nor before or after one", text)
	}
	values := map[int]int{}
	for _, at := range []int{1, 2, 3, 5, 6} {
		if found[at] == "" {
			continue
		}
		value, err := strconv.Atoi(found[at])
		if err != nil {
			return "", fmt.Errorf("number %q: %w", text, err)
		}
		values[at] = value
	}
	place := released
	if found[4] != "" {
		word, known := words[found[4]]
		if !known || values[5] >= perWord {
			return "", fmt.Errorf("number %q: before a release there is room for alpha, beta and rc, 0 to %d", text, perWord-1)
		}
		place = word*perWord + values[5]
	} else {
		place += min(values[6], maxFollowed)
	}
	if values[1] > maxMajor || values[2] > maxMajor || values[3] > maxPatch {
		return "", fmt.Errorf("number %q: Windows Installer has room for %d.%d.%d", text, maxMajor, maxMajor, maxPatch)
	}
	return fmt.Sprintf("%d.%d.%d", values[1], values[2], values[3]*perPatch+place), nil
}
