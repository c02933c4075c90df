package doctor

// here are the words of this system.
var here = windowsWords
