package main

// packaged: there is no packaged server.
func packaged(string) {}
