package main

// hearHangUps has nothing to do: Windows has no such signal.
func hearHangUps() {}
