// Package connections tells the control plane who connects to the workspace:
// each session's begin and end, in order, over however many connections to the
// control plane that takes. It also knows how many sessions there are now.
//
// A report is sent again until it was answered. One whose answer got lost is
// taken twice by the control plane, which knows it by id and action.
package connections
