// Package vpnmanager drives a real `causewayd tunnel` with a manager in another
// language: manager.py, over protocol.py, is written from the description of the CoderVPN protocol
// alone, with its own framing and its own protobuf, and shares no line with us.
package vpnmanager
