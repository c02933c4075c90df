package service

// checkProgram knows nothing here: access lists decide who can write a program,
// and the settings file that names it is the administrators'.
func checkProgram(string) error { return nil }
