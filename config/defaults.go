package config

// Defaults are all settings at their defaults, for who checks what could be set
// without a daemon.
func Defaults() Values {
	out := Values{file: DefaultFile}
	for _, setting := range Schema() {
		out.values = append(out.values, Value{setting, setting.Default, FromDefault})
	}
	return out
}
