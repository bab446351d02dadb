// Says what Go's path/filepath and encoding/json make of each case on standard input.
package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

type ask struct {
	Pattern, Name string
}

type answer struct {
	Bad, Matches bool
	JSON         string
}

func main() {
	var asked []ask
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	answers := make([]answer, len(asked))
	for i, a := range asked {
		matches, err := filepath.Match(a.Pattern, a.Name)
		text, _ := json.MarshalIndent(map[string]any{"a": []string{a.Pattern}, "b": a.Name, "c": map[string]string{}}, "", "  ")
		answers[i] = answer{err != nil, matches, string(text)}
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}
