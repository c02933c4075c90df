// Package vpnmanager drives a real `causewayd tunnel` with a manager in another
// language: manager.py and protocol.py are written from the description of the
// CoderVPN protocol alone, with their own framing and their own protobuf, and
// share no line with us.
package vpnmanager
