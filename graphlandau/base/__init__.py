"""What everything uses and no physics needs: errors, validation, files, tables, chunks, several processes, states."""
