#!/bin/sh
# Draws the icons of packaging/icons anew from their SVG sources. Run it after a
# change of a source and commit what it makes: a build needs none of its tools.
#   Debian: apt install librsvg2-bin icoutils
set -eu
cd "$(dirname "$0")/../packaging/icons"

# The colours of the sources, readable on light and on dark panels, and what
# stands for them where the panel's colour is known or the system does the
# colouring: source, on dark, on light, template.
palette='#1f9347 #3ecf7a #137a38 #000000
#2f7fd6 #6cb2ff #1c62b5 #000000
#b5770a #f2b233 #8a5a00 #000000
#7d848c #b8bec6 #5c636b #000000
#d6453d #ff8078 #b8251e #000000'

recolour() { # SVG COLUMN
	expression=$(echo "$palette" | awk -v column="$2" '{ printf "s/%s/%s/g;", $1, $column }')
	sed "$expression" "$1"
}

draw() { # SVG COLUMN SIZE PNG
	recolour "$1" "$2" | rsvg-convert --width "$3" --height "$3" --output "$4"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for state in connected connecting degraded off error; do
	column=1
	for theme in auto dark light template; do
		case $theme in
		template) draw $state.svg $column 36 $state-template-36.png ;;
		*)
			for size in 22 44; do draw $state.svg $column $size $state-$theme-$size.png; done
			for size in 16 24 32; do draw $state.svg $column $size "$work/$size.png"; done
			icotool --create --output $state-$theme.ico "$work/16.png" "$work/24.png" "$work/32.png"
			;;
		esac
		column=$((column + 1))
	done
	cp $state.svg "$work/mark-$state.svg"
done
cp mark-*.svg "$work"
for mark in good slow lost idle stopped connected connecting degraded off error; do
	mark=mark-$mark
	draw "$work/$mark.svg" 1 16 $mark.png
	for size in 16 24 32; do draw "$work/$mark.svg" 1 $size "$work/$size.png"; done
	icotool --create --output $mark.ico "$work/16.png" "$work/24.png" "$work/32.png"
done
for size in 48 128; do rsvg-convert --width $size --height $size --output causeway-tray-$size.png causeway-tray.svg; done
for size in 16 24 32 48; do rsvg-convert --width $size --height $size --output "$work/$size.png" causeway-tray.svg; done
icotool --create --output causeway-tray.ico "$work/16.png" "$work/24.png" "$work/32.png" "$work/48.png"
