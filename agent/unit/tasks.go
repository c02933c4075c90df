package unit

import (
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// taskName is the agent's task for Windows' scheduler. A service would need the
// account's password, or would give every session the rights of the system.
const taskName = `\Causeway Agent`

// task is the part of the Task Scheduler's schema (version 1.2, Windows Vista)
// that the agent needs.
type task struct {
	XMLName   xml.Name   `xml:"http://schemas.microsoft.com/windows/2004/02/mit/task Task"`
	Version   string     `xml:"version,attr"`
	Info      string     `xml:"RegistrationInfo>Description"`
	Logon     *trigger   `xml:"Triggers>LogonTrigger,omitempty"`
	Boot      *trigger   `xml:"Triggers>BootTrigger,omitempty"`
	Principal principal  `xml:"Principals>Principal"`
	Settings  settings   `xml:"Settings"`
	Exec      taskAction `xml:"Actions>Exec"`
}

type trigger struct {
	Enabled bool   `xml:"Enabled"`
	User    string `xml:"UserId,omitempty"`
}

type principal struct {
	User  string `xml:"UserId"`
	Logon string `xml:"LogonType"`
	Level string `xml:"RunLevel"`
}

type settings struct {
	Instances string `xml:"MultipleInstancesPolicy"`
	Battery   bool   `xml:"DisallowStartIfOnBatteries"`
	OnBattery bool   `xml:"StopIfGoingOnBatteries"`
	// TimeLimit is three days unless it is said to be none.
	TimeLimit string  `xml:"ExecutionTimeLimit"`
	Restart   restart `xml:"RestartOnFailure"`
}

type restart struct {
	Interval string `xml:"Interval"` // a minute is the least there is
	Count    int    `xml:"Count"`
}

type taskAction struct {
	Command   string `xml:"Command"`
	Arguments string `xml:"Arguments"`
}

// tasksPlan starts the agent when the user logs on; with an account, when the
// machine starts, with the rights of that account and without its password.
// system is Windows' directory, data the user's own for programs.
func tasksPlan(o Options, system, data, user string) ([]step, error) {
	token, file := filepath.Join(data, "causeway-agent", "token"), filepath.Join(data, "causeway-agent", "task.xml")
	wanted := task{
		Version: "1.2", Info: "Causeway: makes this workspace reachable",
		Logon:     &trigger{Enabled: true, User: user},
		Principal: principal{User: user, Logon: "InteractiveToken", Level: "LeastPrivilege"},
		Settings:  settings{Instances: "IgnoreNew", TimeLimit: "PT0S", Restart: restart{"PT1M", 999}},
		Exec:      taskAction{Command: o.Program, Arguments: `run --url "` + o.URL + `" --token-file "` + token + `"`},
	}
	if o.Account != "" {
		wanted.Logon, wanted.Boot = nil, &trigger{Enabled: true}
		wanted.Principal.Logon = "S4U"
	}
	content, err := xml.MarshalIndent(wanted, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write task: %w", err)
	}
	schtasks := filepath.Join(system, "schtasks.exe")
	return []step{
		{write: token, content: string(o.Token) + "\r\n", mode: 0o600},
		{write: file, content: utf16Text(`<?xml version="1.0" encoding="UTF-16"?>` + "\n" + string(content) + "\n"), mode: 0o600},
		{run: []string{schtasks, "/Create", "/F", "/TN", taskName, "/XML", file}},
		{run: []string{schtasks, "/Run", "/TN", taskName}},
		{remove: file},
	}, nil
}

// tasksRemoval takes back tasksPlan.
func tasksRemoval(system, data string) []step {
	schtasks := filepath.Join(system, "schtasks.exe")
	return []step{
		{run: []string{schtasks, "/End", "/TN", taskName}, optional: true, remedy: "it may not run"},
		{run: []string{schtasks, "/Delete", "/F", "/TN", taskName}, optional: true, remedy: "it may not be installed"},
		{remove: filepath.Join(data, "causeway-agent", "token")},
	}
}

// utf16Text is what schtasks reads: little endian, with a mark in front.
func utf16Text(text string) string {
	units := utf16.Encode([]rune("\ufeff" + strings.ReplaceAll(text, "\n", "\r\n")))
	result := make([]byte, 0, 2*len(units))
	for _, unit := range units {
		result = binary.LittleEndian.AppendUint16(result, unit)
	}
	return string(result)
}
