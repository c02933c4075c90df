// Command stub stands for a program of ours in packages of which the rig reads
// the lists only.
package main

func main() {}
